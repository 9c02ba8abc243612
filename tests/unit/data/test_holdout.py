"""The hold-out stays what it was, and nothing that is trained on gives it away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from data.errors import InvalidDataset
from data.holdout import HoldoutCheck, check_holdout, digest_holdout
from data.vocabulary import Message, PoolRow, RowKind, SnapshotRow, Split

LONG = "every evening I sit alone by the window and wait for someone to call"


def build_item(name: str, split: Split, context: str, reply: str, kind: RowKind = RowKind.EXAMPLE) -> SnapshotRow:
    messages = (Message(role="user", content=context),)
    return SnapshotRow(row=PoolRow(row_id=name, kind=kind, cluster=name, messages=messages, reply=reply), split=split)


HELD_OUT = build_item("example:1", Split.HOLDOUT, "Why is that so?", f"Because {LONG}.")
TRAINED = build_item("example:2", Split.TRAIN, "I feel lost.", "Tell me more.")


class TestDigestHoldout:
    def test_depends_on_the_held_out_ids_alone(self) -> None:
        other = replace(HELD_OUT, row=replace(HELD_OUT.row, row_id="example:3"))
        digest = digest_holdout([HELD_OUT, other, TRAINED])
        assert digest_holdout([other, HELD_OUT]) == digest
        assert digest_holdout([HELD_OUT, TRAINED]) != digest


class TestCheckHoldout:
    def test_tells_what_it_compared(self) -> None:
        rows = [HELD_OUT, TRAINED]
        assert check_holdout(rows, digest_holdout(rows)) == HoldoutCheck(1, 1, word_runs=8)
        assert check_holdout(rows, None).holdout_rows == 1

    def test_refuses_a_hold_out_that_is_not_the_pinned_one(self) -> None:
        with pytest.raises(InvalidDataset, match="not the one that the manifest pins"):
            check_holdout([HELD_OUT, TRAINED], digest_holdout([TRAINED]))

    def test_refuses_a_row_that_is_held_out_and_trained_on(self) -> None:
        with pytest.raises(InvalidDataset, match="example:1 is held out and trained on"):
            check_holdout([HELD_OUT, replace(TRAINED, row=replace(TRAINED.row, row_id="example:1"))], None)

    @pytest.mark.parametrize("field", ["reply", "original", "context", "earlier"])
    def test_refuses_a_run_of_eight_held_out_words_wherever_it_is_said(self, field: str) -> None:
        said = "So: every EVENING I sit alone, by the window!"
        row = TRAINED.row
        if field in ("reply", "original"):
            row = replace(row, **{field: said})  # type: ignore[arg-type]
        else:
            turns = [Message(role="user", content=said), Message(role="assistant", content="Oh."), *row.messages]
            row = replace(row, messages=tuple(turns[:1] if field == "context" else turns))
        for split in (Split.TRAIN, Split.DEV):
            with pytest.raises(InvalidDataset, match="example:2 shares a run of eight words"):
                check_holdout([HELD_OUT, SnapshotRow(row=row, split=split)], None)

    def test_lets_stock_phrases_of_served_replies_and_shared_system_messages_pass(self) -> None:
        served = build_item("reply:1", Split.HOLDOUT, "And now?", LONG, RowKind.REPLY)
        system = Message(role="system", content=LONG)
        row = replace(TRAINED.row, reply=LONG, messages=(system, *TRAINED.row.messages))
        assert check_holdout([served, SnapshotRow(row=row, split=Split.TRAIN)], None).word_runs == 0
