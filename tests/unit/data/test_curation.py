"""Curation: each rule, the splits, and what a run needs."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.bursts import BURST_RATINGS
from data.curation import COMMON_CONVERSATIONS, CurationResult, build_snapshot_rows, check_sufficiency
from data.overlap import list_word_runs
from data.recipe import Recipe
from data.splitting import assign_split, context_cluster
from data.vocabulary import Message, PoolRow, Rating, RowKind, SnapshotRow, Split

NUMBERS = count(1)
HELD_OUT, TRAINING = "conversation:2", "conversation:1"  # by the default salt
LONG = "one two three four five six seven eight"


def build_row(context: str, reply: str, rating: Rating | None = None, **fields: object) -> PoolRow:
    """A rated row is a served reply in a training conversation, any other an example in its own cluster."""
    row = PoolRow(
        row_id=f"row:{next(NUMBERS)}",
        kind=RowKind.REPLY if rating else RowKind.EXAMPLE,
        cluster=TRAINING if rating else context_cluster(context),
        messages=(Message(role="user", content=context),),
        reply=reply,
        rating=rating,
    )
    return replace(row, **fields)  # type: ignore[arg-type]


def build_ratings(rater: str, number: int, every_s: float = 100.0) -> list[PoolRow]:
    return [
        build_row(f"{rater} asks {n}", f"answer {n}", Rating.DOWN, rater=rater, created_at_s=1000 + n * every_s)
        for n in range(number)
    ]


def curate(*rows: PoolRow) -> CurationResult:
    return build_snapshot_rows(rows)


def list_ids(result: CurationResult) -> list[str]:
    return [item.row.row_id for item in result.rows]


class TestBuildSnapshotRows:
    def test_keeps_order_and_splits_by_cluster(self) -> None:
        rows = [build_row(f"context {n}", f"reply {n}", cluster=f"conversation:{n}") for n in range(60)]
        result = curate(*rows)
        assert result.dropped == {}
        assert [(item.row, item.split) for item in result.rows] == [(row, assign_split(row.cluster)) for row in rows]
        assert {item.split for item in result.rows} == set(Split)

    def test_deals_anew_with_another_salt(self) -> None:
        rows = [build_row(f"context {n}", f"reply {n}") for n in range(60)]
        assert build_snapshot_rows(rows, "another").rows != curate(*rows).rows

    def test_looks_for_no_reason_that_it_was_told_to_leave(self) -> None:
        rows = [build_row(" ", "a"), build_row("b", "c"), build_row("b", "c")]
        found = build_snapshot_rows(rows, without={"empty"})
        assert (found.dropped, len(found.rows)) == ({"duplicate": 1}, 2)

    def test_drops_empties(self) -> None:
        result = curate(
            build_row(" \u200b", "a"),
            build_row("b", "\n"),
            build_row("c", "d", messages=()),
            build_row("e", "f"),
        )
        assert (result.dropped, len(result.rows)) == ({"empty": 3}, 1)

    def test_keeps_the_first_of_duplicates(self) -> None:
        row = build_row("a", "b", Rating.UP, rater="ann")
        others = [
            replace(row, rating=Rating.DOWN),
            replace(row, reply="c"),
            replace(row, kind=RowKind.EXAMPLE),
        ]
        result = curate(row, replace(row, row_id="row:again", rater="bob"), *others)
        assert result.dropped == {"duplicate": 1}
        assert [item.row for item in result.rows] == [row, *others]

    def test_an_experts_word_counts_where_a_user_says_the_opposite(self) -> None:
        down = build_row("I feel low", "Cheer up.", Rating.DOWN, rater="reviewer:1", is_expert=True)
        up = replace(down, row_id="row:up", rating=Rating.UP, rater="ann", is_expert=False)
        same = replace(up, row_id="row:down", rating=Rating.DOWN, rater="bob")
        other = replace(up, row_id="row:other", reply="That is hard.")
        unsure = [replace(row, reply="Hm.", row_id=f"{row.row_id}:hm") for row in (down, up)]
        second = replace(unsure[0], row_id="row:second", rating=Rating.UP, rater="reviewer:2")
        result = curate(down, up, same, other, *unsure, second)
        assert result.dropped == {"overruled": 1, "duplicate": 2}  # the duplicates say what an expert said
        assert list_ids(result) == [down.row_id, "row:other", unsure[0].row_id, unsure[1].row_id]

    def test_a_greeting_of_many_conversations_trains_and_most_such_contexts_are_not_held_out(self) -> None:
        contexts = [f"suggestion {n}" for n in range(12)]
        rows = [
            build_row(context, f"reply {n} to {context}", Rating.UP, cluster=f"conversation:{context}:{n}")
            for context in contexts
            for n in range(COMMON_CONVERSATIONS)
        ]
        result = curate(*rows)
        held_out = {item.row.context for item in result.rows if item.split is Split.HOLDOUT}
        trained = {item.row.context for item in result.rows if item.split is not Split.HOLDOUT}
        assert held_out == {c for c in contexts if assign_split(context_cluster(c)) is Split.HOLDOUT} != set()
        assert trained == set(contexts) - held_out
        assert result.dropped["common_context"] > 0
        fewer = curate(*(row for row in rows if not row.cluster.endswith(":0")))
        assert "common_context" not in fewer.dropped

    def test_drops_crises_in_any_turn_and_every_split(self) -> None:
        turns = (
            Message(role="user", content="I want to kill myself"),
            Message(role="assistant", content="I am here."),
            Message(role="user", content="Thank you."),
        )
        result = curate(
            build_row("I want to die", "Stay."),
            build_row("I feel low", "Do you think of suicide?", cluster=HELD_OUT),
            build_row("Thank you.", "Always.", messages=turns),
            build_row("I feel low", "I am here."),
        )
        assert (result.dropped, len(result.rows)) == ({"crisis": 3}, 1)

    def test_drops_what_only_the_classifier_sees_in_the_words_of_a_user(self) -> None:
        hint = "I have written all the letters and given the cat away, nobody has to deal with me after tonight."
        assert curate(build_row(hint, "Stay."), build_row("I feel low", hint)).dropped == {"crisis": 1}

    def test_reads_no_crisis_into_the_system_message(self) -> None:
        system = Message(role="system", content="If someone mentions suicide, name the helpline.")
        row = build_row("Hello", "Hi.", messages=(system, Message(role="user", content="Hello")))
        assert curate(row).dropped == {}

    def test_drops_up_rated_echoes_of_the_prompt(self) -> None:
        prompt, echo = f"Please say: {LONG}.", f"Sure: {LONG.upper()}!"
        short = "Please say: " + LONG.removeprefix("one ")
        kept = [
            build_row(prompt, echo, Rating.DOWN),
            build_row(short, short.removeprefix("Please say: "), Rating.UP),
        ]
        result = curate(build_row(prompt, echo, Rating.UP), *kept)
        assert result.dropped == {"echo": 1}
        assert [item.row for item in result.rows] == kept

    def test_drops_what_exceeds_a_burst(self) -> None:
        burst = build_ratings("ann", BURST_RATINGS + 5, every_s=1.0)
        result = curate(*reversed(burst), *build_ratings("bob", BURST_RATINGS + 5, every_s=2.0))
        assert result.dropped == {"burst": 5}
        assert not {row.row_id for row in burst[BURST_RATINGS:]} & set(list_ids(result))

    def test_believes_a_burst_again_after_its_window(self) -> None:
        assert curate(*build_ratings("ann", 90, every_s=1.0)).dropped == {"burst": 30}

    def test_counts_ratings_only_in_a_burst(self) -> None:
        corrections = [replace(r, rating=None, kind=RowKind.CORRECTION) for r in build_ratings("ann", 40, 0.0)]
        assert curate(*corrections).dropped == {}

    @pytest.mark.parametrize(
        ("raters", "rows_each", "plain", "kept_each"),
        [(20, 8, 0, 8), (21, 8, 0, 1), (21, 8, 232, 4), (21, 8, 600, 5)],
    )
    def test_caps_a_rater_once_there_are_many(self, raters: int, rows_each: int, plain: int, kept_each: int) -> None:
        rated = [row for n in range(raters) for row in build_ratings(f"rater {n}", rows_each)]
        result = curate(*rated, *(build_row(f"context {n}", f"reply {n}") for n in range(plain)))
        dropped = raters * (rows_each - kept_each)
        assert result.dropped == ({"rater_cap": dropped} if dropped else {})
        kept = set(list_ids(result))
        assert all(row.row_id in kept for row in rated[:kept_each])

    def test_caps_no_expert(self) -> None:
        expert = [replace(row, is_expert=True) for row in build_ratings("reviewer:key-1", 8)]
        others = [row for n in range(21) for row in build_ratings(f"rater {n}", 1)]
        assert curate(*expert, *others).dropped == {}

    @pytest.mark.parametrize(
        ("context", "reply"),
        [
            (f"So {LONG}.", "Fine."),  # a run of the held-out context
            ("Why?", f"Since {LONG}."),
            ("Why?", "And: alpha beta gamma delta epsilon zeta eta theta!"),  # a run of the reference reply
            (f" {LONG.title()} NINE", "Fine."),  # the held-out context itself
        ],
    )
    def test_drops_training_rows_that_give_a_held_out_row_away(self, context: str, reply: str) -> None:
        held_out = build_row(f"{LONG} nine", "alpha beta gamma delta epsilon zeta eta theta iota", cluster=HELD_OUT)
        result = curate(held_out, build_row(context, reply, cluster=TRAINING), build_row("Else", "Fine."))
        assert result.dropped == {"holdout_overlap": 1}
        assert len(result.rows) == 2

    def test_never_trains_on_a_held_out_context_however_short(self) -> None:
        result = curate(build_row("hi", "Hello.", cluster=HELD_OUT), build_row(" Hi ", "Hey.", cluster=TRAINING))
        assert result.dropped == {"holdout_overlap": 1}

    def test_masks_personal_data_in_every_turn_and_the_reply(self) -> None:
        turns = (
            Message(role="system", content="The user is ann@example.com."),
            Message(role="user", content="Call 201-948-1927 or write to ann@example.com."),
        )
        result = curate(build_row("", "I wrote to ann@example.com.", messages=turns))
        row = result.rows[0].row
        assert [message["content"] for message in row.messages] == [
            "The user is [EMAIL].",
            "Call [PHONE] or write to [EMAIL].",
        ]
        assert [message["role"] for message in row.messages] == ["system", "user"]
        assert row.reply == "I wrote to [EMAIL]."
        assert (result.scrubbed, result.dropped) == ({"email": 3, "phone": 1}, {})

    def test_treats_the_original_of_a_correction_as_what_was_said(self) -> None:
        correction = build_row("hi", "Better.", kind=RowKind.CORRECTION, cluster=TRAINING)
        masked = curate(replace(correction, original="I wrote to ann@example.com."))
        assert masked.rows[0].row.original == "I wrote to [EMAIL]."
        assert masked.scrubbed == {}  # counted with the reply that was served
        assert curate(replace(correction, original="You want to die.")).dropped == {"crisis": 1}
        held_out = build_row("hello", LONG, cluster=HELD_OUT)
        assert curate(held_out, replace(correction, original=LONG)).dropped == {"holdout_overlap": 1}

    def test_compares_with_the_held_out_rows_after_masking(self) -> None:
        held_out = build_row("I am ann@example.com", "Hello.", cluster=HELD_OUT)
        result = curate(held_out, build_row("I am bob@example.com", "Hey.", cluster=TRAINING))
        assert result.dropped == {"holdout_overlap": 1}

    def test_takes_no_served_reply_for_a_reference(self) -> None:
        served = build_row("hello", LONG, Rating.UP, cluster=HELD_OUT)
        assert curate(served, build_row("good day", LONG, Rating.DOWN)).dropped == {}

    @given(
        st.lists(
            st.tuples(st.lists(st.sampled_from("abc"), min_size=7, max_size=11), st.integers(1, 12)),
            max_size=12,
        )
    )
    def test_shares_no_context_or_run_between_gate_and_training(self, drawn: list[tuple[list[str], int]]) -> None:
        result = curate(*(build_row(" ".join(w), "Yes.", cluster=f"conversation:{n}") for w, n in drawn))
        gate = [item.row for item in result.rows if item.split is Split.HOLDOUT]
        training = [item.row for item in result.rows if item.split is not Split.HOLDOUT]
        assert len(gate) + len(training) + sum(result.dropped.values()) == len(drawn)
        assert not {row.context for row in gate} & {row.context for row in training}
        for held_out in gate:
            assert all(list_word_runs(held_out.context).isdisjoint(list_word_runs(r.context)) for r in training)


def build_split_rows(ups: int, downs: int, examples: int = 0, held_out: int = 1) -> list[SnapshotRow]:
    rows = [build_row("a", "b", Rating.UP)] * ups + [build_row("a", "b", Rating.DOWN)] * downs
    training = [SnapshotRow(row=row, split=Split.TRAIN) for row in rows + [build_row("a", "b")] * examples]
    return training + [SnapshotRow(row=build_row("c", "d", Rating.UP), split=Split.HOLDOUT)] * held_out


class TestUnratedReplies:
    def test_are_kept_for_training_only(self) -> None:
        kept, apart = build_unrated("a", "b"), build_unrated("c", "d", cluster=HELD_OUT)
        result = curate(kept, apart)
        assert [(item.row, item.split) for item in result.rows] == [(kept, Split.TRAIN)]
        assert result.dropped == {"unrated_outside_training": 1}

    def test_pass_the_rules_that_need_no_rating(self) -> None:
        result = curate(
            build_unrated("a", " "),
            build_unrated("I want to die", "Stay."),
            build_unrated(f"I said {LONG}", f"You said {LONG}"),
            build_unrated("b", "c"),
            build_unrated("b", "c"),
            build_unrated("mail me at ann@example.org", "I will."),
        )
        assert result.dropped == {"empty": 1, "crisis": 1, "echo": 1, "duplicate": 1}
        assert [item.row.context for item in result.rows] == ["b", "mail me at [EMAIL]"]

    def test_leave_the_other_rows_as_they_are(self) -> None:
        labelled = [row for number in range(21) for row in build_ratings(f"rater {number}", 6)]
        unrated = [build_unrated(f"context {number}", f"reply {number}") for number in range(400)]
        alone, together = curate(*labelled), curate(*unrated, *labelled)
        assert [item for item in together.rows if not item.row.is_unrated] == list(alone.rows)
        assert together.dropped["rater_cap"] == alone.dropped["rater_cap"] > 0

    def test_give_no_held_out_row_away(self) -> None:
        held_out = build_row("How do I sleep?", "Well.", cluster=HELD_OUT)
        assert curate(held_out, build_unrated("how do i sleep?", "Badly.")).dropped == {"holdout_overlap": 1}


def build_unrated(context: str, reply: str, cluster: str = TRAINING) -> PoolRow:
    return build_row(context, reply, kind=RowKind.REPLY, cluster=cluster)


class TestCheckSufficiency:
    def test_is_silent_when_there_is_enough(self) -> None:
        assert check_sufficiency(build_split_rows(20, 20), Recipe()) == ()

    def test_asks_for_no_ratings_without_the_preference_stage(self) -> None:
        assert check_sufficiency(build_split_rows(0, 0, examples=1), Recipe(preference_epochs=0)) == ()

    def test_asks_for_nothing_to_imitate_without_the_supervised_stage(self) -> None:
        assert check_sufficiency(build_split_rows(0, 3), Recipe(sft_epochs=0, min_up=1)) == (
            "There are 0 ratings up and 3 down in training; at least 1 up and 20 down are needed "
            "(or set preference_epochs to 0).",
        )

    def test_names_all_that_is_missing(self) -> None:
        assert check_sufficiency([], Recipe()) == (
            "There are no training rows.",
            "No row is held out, so a candidate could not be measured.",
            "There are 0 ratings up and 0 down in training; at least 20 of each are needed "
            "(or set preference_epochs to 0).",
        )
        assert check_sufficiency(build_split_rows(0, 25), Recipe()) == (
            "There is no example, correction or up-rated reply to fine-tune on.",
            "There are 0 ratings up and 25 down in training; at least 20 of each are needed "
            "(or set preference_epochs to 0).",
        )
        assert check_sufficiency(build_split_rows(25, 19), Recipe()) == (
            "There are 25 ratings up and 19 down in training; at least 20 of each are needed "
            "(or set preference_epochs to 0).",
        )
