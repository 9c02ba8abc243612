"""A worker whose broker hands a message out again after a second, unless its task has ended: `-m … FILE`.

Ratchet's own workers acknowledge a message when its task begins, so they meet this only with a message that waits; here
every message is acknowledged at the end. Each start of a task is a line of FILE.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from celery.signals import task_prerun

from worker.queue import TRAIN_QUEUE, get_celery

VISIBILITY_S = 1


def main() -> None:
    """Work until SIGTERM."""
    file = Path(sys.argv[1])

    @task_prerun.connect(weak=False)  # type: ignore[untyped-decorator]
    def note(task: Any, **_: object) -> None:
        with file.open("a") as lines:
            lines.write("again\n" if task.request.delivery_info["redelivered"] else "first\n")

    app = get_celery()
    app.conf.task_acks_late = True
    app.conf.broker_transport_options["visibility_timeout"] = VISIBILITY_S
    app.worker_main(["worker", f"--queues={TRAIN_QUEUE}", "--pool=threads", "--concurrency=4", "--loglevel=WARNING"])


if __name__ == "__main__":
    main()
