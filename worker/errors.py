"""Errors of the worker.

RatchetError
├── TrainerFailed      the trainer subprocess ended without a candidate
│   └── TrainerKilled  by a signal that was not ours, or a shortage; worth another attempt
├── CollectorKilled    the process that reads the pool ended without an answer; worth another attempt
├── WorkerStopping     the worker is shutting down; another takes the run
├── RunCancelled       an admin, an erasure or an exclusion asked to stop
├── JudgedWeightsGone  what passed the gate is not what is registered or stored
└── BaseChanged        the deployment was started on another base model
"""

from data.errors import RatchetError


class TrainerFailed(RatchetError):
    """The trainer ended without a candidate; its log in the run's folder says why."""


class TrainerKilled(TrainerFailed):
    """The trainer was killed by a signal, as it is when memory runs out."""


class CollectorKilled(RatchetError):
    """The process that collects the rows was killed, as it is when memory runs out; the worker's log may say why."""


class WorkerStopping(RatchetError):
    """The worker is shutting down; the run goes on with the next worker."""


class RunCancelled(RatchetError):
    """Cancelled: an admin asked for it, or rows that the run drew on were erased or excluded."""


class JudgedWeightsGone(RatchetError):
    """The run passed the gate in an earlier attempt, but the weights that were judged are gone; start a new run."""


class BaseChanged(RatchetError):
    """The database was started on another base model; set RATCHET_BASE_MODEL back, or use another RATCHET_VAR."""
