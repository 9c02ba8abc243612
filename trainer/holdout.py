"""Which held-out rows an evaluation asks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from data.holdout import MIN_CLUSTERS_TO_DECIDE
from data.overlap import is_reference_given
from data.preferences import draw_share
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

    Where examples and corrections are of fewer conversations than a promotion takes, up-rated replies of others stand
    in as references: else the first correction in a pool without examples would be the only one. A row whose prompt
    quotes its reference is none: its score would measure copying. `split` takes the same rows of the dev split instead.
    """
    of_split = sorted((r.row for r in rows if r.split is split), key=lambda row: row.row_id)
    held_out = [row for row in of_split if fits(row.messages)]
    askable = [row for row in held_out if not is_reference_given(list_texts(row), row.reply)]
    references = [row for row in askable if row.kind is not RowKind.REPLY and row.rating is not Rating.DOWN]
    written = {row.cluster for row in references}
    if len(written) < MIN_CLUSTERS_TO_DECIDE:
        served = (row for row in askable if row.kind is RowKind.REPLY and row.rating is Rating.UP)
        references += [row for row in served if row.cluster not in written]
    rated = [row for row in held_out if row.rating is not None]
    return Holdout(_draw(references, limit), _draw(rated, limit), too_long=len(of_split) - len(held_out))


def _draw(rows: list[PoolRow], limit: int) -> list[PoolRow]:
    """At most so many rows, by hash: the first ids would be the oldest, and a promotion takes newer ones as well."""
    drawn = sorted(rows, key=lambda row: draw_share(row.row_id, 0))[: limit or None]
    return sorted(drawn, key=lambda row: row.row_id)


def list_texts(row: PoolRow) -> list[str]:
    """What was said before the reply."""
    return [message["content"] for message in row.messages]


def _say(row: PoolRow) -> tuple[tuple[str, str], ...]:
    return tuple((message["role"], message["content"]) for message in row.messages)
