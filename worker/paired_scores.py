"""The scores that the gate compares, as arrays: one element for each hold-out row."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from data.arrays import BoolArray, FloatArray, LabelArray
from data.errors import RatchetError

MIN_RATED_OF_A_KIND = 10
MIN_RATED_CLUSTERS = 30

Scores = TypeVar("Scores", "PairedScores", "RatedScores")


class InvalidScores(RatchetError, ValueError):
    """The score table is damaged; evaluate the candidate again."""


class _Columns:
    """What both kinds of scores share: optional columns are None where there is nothing to compare with."""

    candidate: FloatArray
    production: FloatArray
    cluster: LabelArray
    anchor: FloatArray | None
    row_id: LabelArray | None
    created_at_s: FloatArray | None

    def find_non_finite(self) -> str:
        """Whose scores are not finite and in how many rows; empty where all are."""
        owners = (("the candidate", self.candidate), ("production", self.production), ("the anchor", self.anchor))
        for owner, values in owners:
            count = 0 if values is None else int(np.count_nonzero(~np.isfinite(values)))
            if values is not None and count:
                return f"{owner} is not a finite number in {count} of {len(values)} rows"
        return ""


@dataclass(frozen=True, eq=False, kw_only=True)
class PairedScores(_Columns):
    """One metric of all models, one element for each hold-out row.

    Attributes:
        candidate, production: scores; `log_perplexity` in nats per reply token.
        cluster: the conversation of each row.
        weight: weight of a row within its cluster, above 0 (reply tokens for `log_perplexity`).
        anchor: scores of the anchor; None where there is none, or where it is production itself.
        previous: scores of production's predecessor, not a number where unknown; None where there is none.
        row_id: of the pool; None where it is not known.
        created_at_s: when the row came into the pool, seconds since 1970; None where it is not known.
        rater: whose correction or liked reply is the reference, empty where it is nobody's or an expert's; None where
            that is known of none.
        reference: words of the reference replies, for `reply_words` alone, not a number where one sets no length; None
            where none does.
    """

    name: str
    candidate: FloatArray
    production: FloatArray
    cluster: LabelArray
    weight: FloatArray
    higher_is_better: bool
    anchor: FloatArray | None = None
    previous: FloatArray | None = None
    row_id: LabelArray | None = None
    created_at_s: FloatArray | None = None
    reference: FloatArray | None = None
    rater: LabelArray | None = None

    def __post_init__(self) -> None:
        """Refuse columns that do not belong together, and weights that no mean can use."""
        _check_lengths(self.name, self)
        if not (np.isfinite(self.weight) & (self.weight > 0)).all():
            raise InvalidScores(f"A weight of {self.name} is not above 0; evaluate the candidate again.")


@dataclass(frozen=True, eq=False, kw_only=True)
class RatedScores(_Columns):
    """What all models think of the rated hold-out replies, one element for each reply.

    Attributes:
        candidate, production, anchor: log p(reply) - log p(reply under the base), in nats per token.
        is_up: whether the rating is up.
        cluster: the conversation of each reply.
        rater: who rated, empty where unknown; None where that is known of no reply.
        row_id, created_at_s: as in `PairedScores`.
    """

    candidate: FloatArray
    production: FloatArray
    is_up: BoolArray
    cluster: LabelArray
    anchor: FloatArray | None = None
    rater: LabelArray | None = None
    row_id: LabelArray | None = None
    created_at_s: FloatArray | None = None

    def __post_init__(self) -> None:
        """Refuse columns that do not belong together."""
        _check_lengths("rating_score", self)

    @property
    def counts(self) -> tuple[int, int, int]:
        """Up-rated replies, down-rated replies, and the conversations that they are in."""
        up = int(np.count_nonzero(self.is_up))
        return up, len(self.is_up) - up, len(np.unique(self.cluster))

    @property
    def is_enough(self) -> bool:
        """Whether the rating AUC may be tested."""
        up, down, clusters = self.counts
        return min(up, down) >= MIN_RATED_OF_A_KIND and clusters >= MIN_RATED_CLUSTERS


def build_empty_scores(name: str) -> PairedScores:
    """The scores of a metric that no row has."""
    nothing = np.empty(0)
    return PairedScores(
        name=name,
        candidate=nothing,
        production=nothing,
        cluster=np.empty(0, dtype=str),
        weight=nothing,
        higher_is_better=True,
    )


def select_rows(scores: Scores, keep: BoolArray | NDArray[np.int64]) -> Scores:
    """The scores of some rows, by mask or by number."""
    return dataclasses.replace(scores, **{name: column[keep] for name, column in _list_columns(scores)})


def _list_columns(scores: PairedScores | RatedScores) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(scores):
        column = getattr(scores, field.name)
        if isinstance(column, np.ndarray):
            yield field.name, column


def _check_lengths(name: str, scores: PairedScores | RatedScores) -> None:
    if len({len(column) for _, column in _list_columns(scores)}) > 1:
        raise InvalidScores(f"The columns of {name} have different lengths; evaluate the candidate again.")
