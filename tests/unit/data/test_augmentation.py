"""Synthetic variants: marked, deterministic, the reply untouched, and nothing that a held-out row says."""

from __future__ import annotations

from dataclasses import replace

from data.augmentation import Augmentation, augment_rows, find_origin
from data.vocabulary import Message, PoolRow, RowKind, SnapshotRow, Split

FOUR = "I moved to [CITY]. I know nobody there. The days are long. What can I do?"


def build_row(*contents: str, row_id: str = "example:1", reply: str = "Tell me more.") -> PoolRow:
    roles = ("user", "assistant")
    messages = tuple(Message(role=roles[turn % 2], content=content) for turn, content in enumerate(contents))
    return PoolRow(row_id=row_id, kind=RowKind.EXAMPLE, cluster="c", messages=messages, reply=reply)


def augment(*rows: PoolRow, held_out: tuple[PoolRow, ...] = (), copies: int = 4, seed: int = 0) -> Augmentation:
    snapshot = [SnapshotRow(row=row, split=Split.TRAIN) for row in rows]
    snapshot += [SnapshotRow(row=row, split=Split.HOLDOUT) for row in held_out]
    return augment_rows(rows, snapshot, copies=copies, below=100, seed=seed)


def find_variant(augmentation: Augmentation, name: str) -> PoolRow | None:
    return next((row for row in augmentation.rows if row.row_id.endswith(f"#{name}")), None)


class TestAugmentRows:
    def test_marks_each_variant_and_leaves_the_reply_alone(self) -> None:
        row = build_row(FOUR)
        result = augment(row)
        assert {find_origin(variant.row_id) for variant in result.rows} == {"example:1"}
        assert {variant.row_id for variant in result.rows}.isdisjoint({row.row_id})
        assert {(variant.reply, variant.kind, variant.cluster) for variant in result.rows} == {
            ("Tell me more.", RowKind.EXAMPLE, "c")
        }
        assert result.made == {"greeting": 1, "casing": 1, "sentence": 1}
        assert all(variant.messages != row.messages for variant in result.rows)

    def test_drops_a_middle_sentence_that_asks_nothing(self) -> None:
        spared = {
            variant.context
            for seed in range(20)
            if (variant := find_variant(augment(build_row(FOUR), seed=seed), "sentence"))
        }
        assert spared == {
            "I moved to [CITY]. The days are long. What can I do?",
            "I moved to [CITY]. I know nobody there. What can I do?",
        }

    def test_drops_no_sentence_of_a_short_turn_nor_a_question(self) -> None:
        short, asking = build_row("One. Two. Three."), build_row("I am lost. Why me? Why now? Help.")
        assert find_variant(augment(short), "sentence") is None
        assert find_variant(augment(asking), "sentence") is None

    def test_takes_a_greeting_away_or_puts_one_before(self) -> None:
        greeted = find_variant(augment(build_row("Hi there, I cannot sleep.")), "greeting")
        assert greeted is not None
        assert greeted.context == "I cannot sleep."
        bare = find_variant(augment(build_row("Hello kitty is my cat.")), "greeting")
        assert bare is not None
        assert bare.context.endswith(". Hello kitty is my cat.")

    def test_types_carelessly_but_keeps_masks(self) -> None:
        variant = find_variant(augment(build_row("My mother [NAME] left.")), "casing")
        assert variant is not None
        assert variant.context == "my mother [NAME] left"

    def test_leaves_the_oldest_exchange_out_and_the_system_message_in(self) -> None:
        row = build_row("one", "two", "three")
        row = replace(row, messages=(Message(role="system", content="Be kind."), *row.messages))
        variant = find_variant(augment(row), "turns")
        assert variant is not None
        assert [turn["content"] for turn in variant.messages] == ["Be kind.", "three"]

    def test_works_without_a_user_turn(self) -> None:
        row = replace(build_row("x"), messages=(Message(role="system", content="begin"),))
        assert augment(row).rows == ()

    def test_gives_the_same_again_and_others_for_another_seed(self) -> None:
        rows = [build_row(FOUR, row_id=f"example:{n}") for n in range(20)]
        few = augment(*rows, copies=1)
        assert few == augment(*rows, copies=1)
        assert few.rows[3] in augment(*rows[3:], copies=1).rows
        assert few.rows != augment(*rows, copies=1, seed=1).rows
        assert len(few.rows) == 20

    def test_counts_a_repeated_row_once(self) -> None:
        row = build_row(FOUR)
        assert augment(row, row) == augment(row)

    def test_makes_none_when_off_or_for_a_large_set(self) -> None:
        rows = [build_row(FOUR, row_id=f"example:{n}") for n in range(3)]
        assert augment(*rows, copies=0).rows == ()
        assert augment_rows(rows, [], copies=2, below=3, seed=0).rows == ()
        assert augment_rows(rows, [], copies=2, below=4, seed=0).rows

    def test_drops_what_a_held_out_row_says(self) -> None:
        row = build_row("Hi. I am sad.")
        result = augment(row, held_out=(build_row("i am SAD."),))
        assert find_variant(result, "greeting") is None
        assert result.dropped == {"like_a_held_out_row": 1}

    def test_drops_what_shares_a_new_run_of_words_with_a_reference(self) -> None:
        row = build_row("One two three four. Gone away. Five six seven eight. The end is near.")
        held_out = build_row("Else.", reply="And so one two three four five six seven eight.")
        assert find_variant(augment(row), "sentence") is not None
        dropped = [augment(row, held_out=(held_out,), seed=seed).dropped for seed in range(10)]
        assert {"like_a_held_out_row": 1} in dropped
        served = replace(held_out, kind=RowKind.REPLY)
        assert all(not augment(row, held_out=(served,), seed=seed).dropped for seed in range(10))


class TestFindOrigin:
    def test_leaves_other_ids_alone(self) -> None:
        assert find_origin("feedback:7") == "feedback:7"
        assert find_origin("feedback:7#casing") == "feedback:7"
