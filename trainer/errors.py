"""Errors of the trainer.

RatchetError
├── BaseModelMissing   the base model is not on this machine
└── TrainingFailed     the numbers went wrong: not finite, or nothing to train on
"""

from data.errors import RatchetError


class BaseModelMissing(RatchetError):
    """The base model is not on this machine; install it or name another in RATCHET_BASE_MODEL."""


class TrainingFailed(RatchetError):
    """Training did not produce usable weights; lower the learning rate or look at the data."""
