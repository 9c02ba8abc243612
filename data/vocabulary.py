"""The words of the system (docs/architecture.md): enumerations and the rows that cross package borders."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict


class Message(TypedDict):
    """One turn of a conversation, as OpenAI's chat API writes it."""

    role: str  # "system", "user" or "assistant"
    content: str


class Rating(StrEnum):
    """What a rater thought of a reply."""

    UP = "up"
    DOWN = "down"


class KeyRole(StrEnum):
    """What the holder of a key may do."""

    CLIENT = "client"  # chat, rate, read what is its own
    REVIEWER = "reviewer"  # the expert queue
    ADMIN = "admin"  # runs, versions, promotions


class RunStatus(StrEnum):
    """Where a run stands."""

    QUEUED = "queued"  # waits for a worker
    COLLECTING = "collecting"  # the snapshot is being frozen
    TRAINING = "training"  # the trainer makes the candidate
    EVALUATING = "evaluating"  # candidate and production answer the hold-out
    PROMOTING = "promoting"  # registered, the gate decides
    SUCCEEDED = "succeeded"  # promoted, or passed the gate and waits for approval
    REFUSED = "refused"  # evaluated and not promoted
    SKIPPED = "skipped"  # there was too little to train on
    FAILED = "failed"  # an error, or too many attempts
    CANCELLED = "cancelled"  # an admin stopped it

    @property
    def is_active(self) -> bool:
        """True until the run has its outcome."""
        return self in ACTIVE_STATUSES


ACTIVE_STATUSES = frozenset(
    {RunStatus.QUEUED, RunStatus.COLLECTING, RunStatus.TRAINING, RunStatus.EVALUATING, RunStatus.PROMOTING}
)
JUDGED_STATUSES = frozenset({RunStatus.SUCCEEDED, RunStatus.REFUSED, RunStatus.SKIPPED})  # the rows had their say


class Verdict(StrEnum):
    """What the gate says of a candidate."""

    PROMOTE = "promote"
    REFUSE = "refuse"
    NOT_ENOUGH_EVIDENCE = "not_enough_evidence"


class ScheduleMode(StrEnum):
    """What becomes of a version that passed the gate."""

    AUTO = "auto"  # promoted at once
    APPROVE = "approve"  # waits until an admin promotes it


class ReviewVerdict(StrEnum):
    """What a reviewer says of a reply."""

    GOOD = "good"
    BAD = "bad"
    HARMFUL = "harmful"

    @property
    def rating(self) -> Rating:
        """The rating that it stands for."""
        return Rating.UP if self is ReviewVerdict.GOOD else Rating.DOWN


class Split(StrEnum):
    """Which part of the pool a row belongs to, for ever."""

    TRAIN = "train"
    DEV = "dev"  # early stopping and tuning
    HOLDOUT = "holdout"  # seen by the gate only


class RowKind(StrEnum):
    """Where a snapshot row comes from."""

    EXAMPLE = "example"  # imported, or written by a reviewer
    CORRECTION = "correction"  # what a rater says that the reply should have been
    REPLY = "reply"  # a served reply with its rating, if it has one


class Method(StrEnum):
    """How a run learns (docs/training.md)."""

    AUTO = "auto"  # chosen by what the snapshot holds: data/methods.py
    SFT = "sft"  # supervised fine-tuning alone
    KTO = "kto"  # SFT, then single ratings
    DPO = "dpo"  # SFT, then pairs of a better and a worse reply
    REWARD = "reward"  # SFT, then a reward model from pairs, and a policy that follows it


class Policy(StrEnum):
    """How the model follows a reward model."""

    BEST_OF_N = "best_of_n"  # fine-tuned on the best of its own replies
    RLOO = "rloo"
    GRPO = "grpo"


@dataclass(frozen=True, kw_only=True)
class Example:
    """One imported Context/Response pair; `rating` is None for a plain example."""

    context: str
    response: str
    rating: Rating | None = None
    line: int = 0  # 1-based line in the file it came from; 0 when unknown


@dataclass(frozen=True, kw_only=True)
class PoolRow:
    """One row of the pool that a snapshot is drawn from.

    `row_id` names its origin (`example:12`, `feedback:7`, `correction:7`). `cluster` is the unit of splitting and of
    every test: the conversation, or the hash of the context where there is none. `rating` is None for plain examples
    and corrections, which count as what the model should say. A reviewer's rows are `is_expert`: they come first where
    two say the same, no cap on raters applies to them, and what they say is imitated twice as often.
    """

    row_id: str
    kind: RowKind
    cluster: str
    messages: tuple[Message, ...]  # the turns before the reply, the last one from the user
    reply: str
    rating: Rating | None = None
    rater: str | None = None
    is_expert: bool = False
    created_at_s: float = 0.0  # seconds since 1970
    original: str | None = None  # of a correction: the reply that it corrects

    @property
    def context(self) -> str:
        """The last user turn."""
        return self.messages[-1]["content"]

    @property
    def is_unrated(self) -> bool:
        """A served reply that nobody has rated: of use only where the reward model may rate it."""
        return self.kind is RowKind.REPLY and self.rating is None


@dataclass(frozen=True, kw_only=True)
class SnapshotRow:
    """A pool row that was accepted into a snapshot, with its split."""

    row: PoolRow
    split: Split
