"""Which rows the hold-out has."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.errors import ReferenceGiven
from data.holdout import MIN_CLUSTERS_TO_DECIDE
from data.vocabulary import Message, PoolRow, Rating, RowKind, SnapshotRow, Split
from trainer.answers import check_references
from trainer.holdout import Holdout, select_holdout


def build_row(number: int, kind: RowKind, rating: Rating | None = None, split: Split = Split.HOLDOUT) -> SnapshotRow:
    row = PoolRow(
        row_id=f"{kind}:{number}",
        kind=kind,
        cluster=f"conversation:{number}",
        messages=({"role": "user", "content": "hello"},),
        reply="hi",
        rating=rating,
    )
    return SnapshotRow(row=row, split=split)


class TestSelectHoldout:
    def test_takes_examples_and_corrections_as_references_and_ratings_beside_them(self) -> None:
        rows = [
            build_row(1, RowKind.EXAMPLE),
            build_row(2, RowKind.CORRECTION),
            build_row(3, RowKind.REPLY, Rating.UP),
            build_row(4, RowKind.EXAMPLE, split=Split.TRAIN),
            build_row(5, RowKind.EXAMPLE, Rating.DOWN),
        ]
        holdout = select_holdout(rows, limit=0)
        assert [row.row_id for row in holdout.references] == ["correction:2", "example:1", "reply:3"]
        assert [row.row_id for row in holdout.rated] == ["example:5", "reply:3"]

    @pytest.mark.parametrize(
        ("written", "stand_in"), [(0, 1), (1, 1), (MIN_CLUSTERS_TO_DECIDE - 1, 1), (MIN_CLUSTERS_TO_DECIDE, 0)]
    )
    def test_up_rated_replies_stand_in_until_enough_is_written(self, written: int, stand_in: int) -> None:
        rows = [build_row(number, RowKind.CORRECTION) for number in range(written)]
        rows += [build_row(1000, RowKind.REPLY, Rating.UP), build_row(1001, RowKind.REPLY, Rating.DOWN)]
        references = select_holdout(rows, limit=0).references
        assert sum(row.row_id == "reply:1000" for row in references) == stand_in
        assert len(references) == written + stand_in

    def test_nothing_stands_in_for_what_was_corrected(self) -> None:
        rows = [build_row(1, RowKind.CORRECTION), build_row(1, RowKind.REPLY, Rating.UP)]
        assert [row.row_id for row in select_holdout(rows, limit=0).references] == ["correction:1"]

    def test_asks_new_rows_as_often_as_old_ones(self) -> None:
        rows = [build_row(number, RowKind.REPLY, Rating.DOWN) for number in range(1, 2001)]
        asked = [int(row.cluster.split(":")[1]) for row in select_holdout(rows, limit=400).rated]
        assert len(asked) == 400
        assert 150 < sum(number > 1000 for number in asked) < 250

    def test_takes_at_most_the_limit_and_always_the_same(self) -> None:
        rows = [build_row(number, RowKind.EXAMPLE) for number in range(20)]
        chosen = select_holdout(rows, limit=5).references
        assert len(chosen) == 5
        assert select_holdout(rows[::-1], limit=5).references == chosen

    def test_leaves_out_a_row_whose_prompt_quotes_its_reference(self) -> None:
        rows = [build_row(1, RowKind.EXAMPLE), build_given(2)]
        assert [row.row_id for row in select_holdout(rows, limit=0).references] == ["example:1"]

    def test_counts_what_does_not_fit(self) -> None:
        rows = [build_row(1, RowKind.EXAMPLE), build_row(2, RowKind.EXAMPLE), build_row(3, RowKind.EXAMPLE)]
        rows[1] = replace(rows[1], row=replace(rows[1].row, messages=({"role": "user", "content": "long"},)))
        holdout = select_holdout(rows, limit=1, fits=lambda messages: messages[-1]["content"] != "long")
        assert ([row.row_id for row in holdout.references], holdout.too_long) == (["example:1"], 1)

    def test_takes_the_same_kinds_of_row_from_the_dev_split(self) -> None:
        rows = [build_row(1, RowKind.EXAMPLE), build_row(2, RowKind.EXAMPLE, split=Split.DEV)]
        assert [row.row_id for row in select_holdout(rows, 0, Split.DEV).references] == ["example:2"]


class TestListPrompts:
    def test_has_each_conversation_once(self) -> None:
        rows = [build_row(1, RowKind.EXAMPLE).row, build_row(2, RowKind.REPLY, Rating.DOWN).row]
        other = replace(rows[1], row_id="reply:3", messages=(Message(role="user", content="good morning"),))
        prompts = Holdout(references=rows[:1], rated=[rows[1], other]).list_prompts()
        assert [row.row_id for row in prompts] == ["example:1", "reply:3"]


class TestCheckReferences:
    def test_refuses_to_score_a_reply_that_was_given_its_reference(self) -> None:
        check_references(Holdout(references=[build_row(1, RowKind.EXAMPLE).row], rated=[]))
        with pytest.raises(ReferenceGiven):
            check_references(Holdout(references=[build_row(1, RowKind.EXAMPLE).row, build_given(2).row], rated=[]))


def build_given(number: int) -> SnapshotRow:
    """A row in whose prompt the reference stands."""
    item = build_row(number, RowKind.EXAMPLE)
    messages = (*item.row.messages, Message(role="user", content=f"hello. {item.row.reply}"))
    return replace(item, row=replace(item.row, messages=messages))
