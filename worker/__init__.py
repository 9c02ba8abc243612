"""The worker: Celery tasks, leases, the trainer subprocess, the gate. The one place that joins db and trainer."""
