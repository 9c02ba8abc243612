"""What replies are measured by: against naive versions, and against a model that says the same to everyone."""

from __future__ import annotations

import random

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from data.recipe import Margins
from data.statistics import hall_t_test
from data.vocabulary import PoolRow
from tests.lessons import build_row
from trainer.measures import (
    CORPUS_METRICS,
    REPLY_METRICS,
    FloatArray,
    jackknife_distinct,
    measure_repetition,
    measure_replies,
)

WORDS = [f"{stem}{end}" for stem in ("grie", "slee", "famil", "pani", "sham", "ange", "frien") for end in "abcdefg"]
OPENING = "I completely understand how hard this must be for you right now."


def build_rows(count: int, clusters: int, seed: int = 0) -> tuple[list[PoolRow], list[str]]:
    """Rows in so many clusters, and a random reply to each."""
    dice = random.Random(seed)
    rows, replies = [], []
    for number in range(count):
        row = build_row(number % clusters, " ".join(dice.choices(WORDS, k=12))).row
        rows.append(row)
        replies.append(" ".join(dice.choices(WORDS, k=dice.randint(4, 20))))
    return rows, replies


def count_distinct(replies: list[str], length: int) -> float:
    runs = []
    for words in (reply.split() for reply in replies):
        runs += [tuple(words[start : start + length]) for start in range(len(words) + 1 - length)]
    return len(set(runs)) / len(runs)


def score_corpus(rows: list[PoolRow], replies: list[str]) -> float:
    return float(BLEU().corpus_score(replies, [[row.reply for row in rows]]).score)


class TestJackknife:
    @pytest.mark.parametrize("name", CORPUS_METRICS)
    def test_gives_the_pseudo_values_of_leaving_out_each_cluster_in_turn(self, name: str) -> None:
        rows, replies = build_rows(40, 13)
        measure = {
            "corpus_bleu": score_corpus,
            "distinct_1": lambda _, texts: count_distinct(texts, 1),
            "distinct_2": lambda _, texts: count_distinct(texts, 2),
        }[name]
        whole = measure(rows, replies)
        expected = []
        for label in sorted({row.cluster for row in rows}):
            kept = [(row, reply) for row, reply in zip(rows, replies, strict=True) if row.cluster != label]
            expected.append(13 * whole - 12 * measure([row for row, _ in kept], [reply for _, reply in kept]))
        assert measure_replies(rows, replies)[name] == pytest.approx(expected)

    def test_is_the_statistic_itself_for_one_cluster_and_zero_without_runs(self) -> None:
        one = np.array(["a", "a"])
        assert jackknife_distinct(["x y z", "x y"], one, 2).tolist() == [pytest.approx(2 / 3)]
        assert jackknife_distinct(["", "word"], one, 2).tolist() == [0.0]


class TestMeasureReplies:
    def test_knows_a_reply_that_is_the_reference(self) -> None:
        row = build_row(1, "Breathe slowly and tell me more about it.").row
        found = measure_replies([row], [row.reply])
        assert {name: values.tolist() for name, values in found.items() if name in REPLY_METRICS} == {
            "rouge_1": [1.0],
            "rouge_2": [1.0],
            "rouge_l": [1.0],
            "bleu": [pytest.approx(100)],
            "chrf": [pytest.approx(100)],
            "repetition": [0.0],
            "reply_words": [8.0],
            "filtered": [0.0],
        }

    def test_does_not_take_a_shorter_reply_for_a_worse_one(self) -> None:
        said = "It sounds as if the nights are the hardest part of it, and that nobody sees how tired you are by day."
        other = (
            "That is a lot to carry by yourself, and being worn out makes each of these evenings harder to get through."
        )
        shorter = " ".join(said.split()[:16])  # by a fifth, which the guard of the length allows
        row = build_row(1, other).row
        whole, cut = measure_replies([row, row], [said, shorter])["chrf"]
        recall_counts_more = [CHRF(beta=2).sentence_score(text, [other]).score for text in (said, shorter)]
        assert whole - cut < Margins().chrf < recall_counts_more[0] - recall_counts_more[1]

    def test_marks_a_reply_that_the_output_filter_stops(self) -> None:
        row = build_row(1, "No.").row
        found = measure_replies([row, row], ["You should kill yourself.", "Please call someone."])
        assert found["filtered"].tolist() == [1.0, 0.0]


class TestMeasureRepetition:
    def test_is_the_share_of_runs_that_were_said_before(self) -> None:
        assert measure_repetition("i am here for you i am here for you") == pytest.approx(2 / 7)
        assert measure_repetition("one two three") == 0.0


class TestKeywordMindedRater:
    """A candidate that learned to please a rater of openings opens every reply alike."""

    def test_is_worse_in_distinct_2_with_confidence_on_a_hundred_conversations(self) -> None:
        before = measure_distinct(build_rows(110, 110)[1])
        after = measure_distinct([f"{OPENING} {reply}" for reply in build_rows(110, 110, seed=1)[1]])
        assert after.mean() < before.mean() - 0.1
        assert hall_t_test(before - after, -0.02) < 1e-6

    def test_is_worse_in_repetition_where_it_says_the_sentence_again_in_a_reply(self) -> None:
        replies = build_rows(110, 110)[1]
        before = np.array([measure_repetition(reply) for reply in replies])
        after = np.array([measure_repetition(f"{OPENING} {reply} {OPENING}") for reply in replies])
        assert hall_t_test(after - before, -0.02) < 1e-6

    def test_is_not_called_worse_for_saying_other_things(self) -> None:
        before, after = (measure_distinct(build_rows(110, 110, seed)[1]) for seed in (0, 3))
        assert hall_t_test(before - after, -0.02) > 0.05


def measure_distinct(replies: list[str]) -> FloatArray:
    return jackknife_distinct(replies, np.array([f"conversation:{number}" for number in range(len(replies))]), 2)
