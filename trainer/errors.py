"""Errors of the trainer.

RatchetError
├── BaseModelBroken    its weights are not finite numbers
├── BaseModelMissing   the base model is not on this machine
└── TrainingFailed     the numbers went wrong: not finite, or nothing to train on
"""

from data.errors import RatchetError


class BaseModelBroken(RatchetError):
    """The base model has weights that are not finite numbers; fetch it anew, or name another in RATCHET_BASE_MODEL."""


class BaseModelMissing(RatchetError):
    """The base model is not on this machine; install it or name another in RATCHET_BASE_MODEL."""


class TrainingFailed(RatchetError):
    """Training did not produce usable weights; lower the learning rate or look at the data."""
