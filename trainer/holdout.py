"""Which held-out rows an evaluation asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data.overlap import is_reference_given
from data.vocabulary import Message, PoolRow, Rating, RowKind, SnapshotRow, Split


@dataclass(frozen=True)
class Holdout:
    """The rows that an evaluation asks."""

    references: list[PoolRow]  # examples and corrections: what should be said
    rated: list[PoolRow]  # served replies with their rating
    too_long: int = 0  # rows left out, because their last message does not fit into the window with a reply

    def list_prompts(self) -> list[PoolRow]:
        """A row for each different conversation that can be answered anew, references first."""
        prompts: dict[tuple[tuple[str, str], ...], PoolRow] = {}
        for row in [*self.references, *self.rated]:
            prompts.setdefault(_say(row), row)
        return list(prompts.values())


def select_holdout(
    rows: Sequence[SnapshotRow],
    limit: int,
    split: Split = Split.HOLDOUT,
    fits: Callable[[Sequence[Message]], bool] = lambda _: True,
) -> Holdout:
    """The hold-out rows of a snapshot that fit, at most `limit` of each kind (0: all), always the same ones.

    Where nobody imported an example, up-rated replies stand in as references. A row whose prompt quotes its reference
    is none: its score would measure copying. `split` takes the same rows of the dev split instead.
    """
    of_split = sorted((r.row for r in rows if r.split is split), key=lambda row: row.row_id)
    held_out = [row for row in of_split if fits(row.messages)]
    references = [row for row in held_out if row.kind is not RowKind.REPLY and row.rating is not Rating.DOWN]
    rated = [row for row in held_out if row.rating is not None]
    if not references:
        references = [row for row in rated if row.rating is Rating.UP]
    references = [row for row in references if not is_reference_given(list_texts(row), row.reply)]
    return Holdout(references[: limit or None], rated[: limit or None], too_long=len(of_split) - len(held_out))


def list_texts(row: PoolRow) -> list[str]:
    """What was said before the reply."""
    return [message["content"] for message in row.messages]


def _say(row: PoolRow) -> tuple[tuple[str, str], ...]:
    return tuple((message["role"], message["content"]) for message in row.messages)
