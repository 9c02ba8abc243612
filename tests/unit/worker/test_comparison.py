"""What scores are accepted, and how they become comparisons."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from scipy import stats

from data.lifetime import spend_alpha
from data.recipe import Margins
from worker.comparison import Comparison, Levels, build_comparisons
from worker.paired_scores import InvalidScores, PairedScores, RatedScores
from worker.wording import explain_margin


def build_paired(name: str = "rouge_l", rows: int = 4, weight: float = 1.0) -> PairedScores:
    return PairedScores(
        name=name,
        candidate=np.linspace(0.2, 0.3, rows),
        production=np.full(rows, 0.2),
        cluster=(np.arange(rows) // 2).astype(np.str_),
        weight=np.full(rows, weight),
        higher_is_better=name != "log_perplexity",
    )


def build_rated(ups: int, downs: int, clusters: int) -> RatedScores:
    rows = ups + downs
    return RatedScores(
        candidate=np.arange(rows, dtype=np.float64),
        production=np.zeros(rows),
        is_up=np.arange(rows) < ups,
        cluster=(np.arange(rows) % clusters).astype(np.str_),
    )


class TestPairedScores:
    def test_refuses_columns_of_different_lengths(self) -> None:
        with pytest.raises(InvalidScores, match="columns of bleu have different lengths"):
            PairedScores(
                name="bleu",
                candidate=np.zeros(3),
                production=np.zeros(2),
                cluster=np.array(["a", "b", "c"]),
                weight=np.ones(3),
                higher_is_better=True,
            )

    @pytest.mark.parametrize("weight", [0.0, -1.0, np.nan, np.inf])
    def test_refuses_a_weight_that_no_mean_can_use(self, weight: float) -> None:
        with pytest.raises(InvalidScores, match="weight of rouge_l is not above 0"):
            build_paired(weight=weight)


class TestRatedScores:
    def test_refuses_columns_of_different_lengths(self) -> None:
        with pytest.raises(InvalidScores, match="rating_score"):
            RatedScores(
                candidate=np.zeros(2),
                production=np.zeros(2),
                is_up=np.array([True]),
                cluster=np.array(["a", "b"]),
            )

    @pytest.mark.parametrize(
        ("ups", "downs", "clusters", "is_enough"),
        [(20, 10, 30, True), (10, 20, 30, True), (21, 9, 30, False), (9, 21, 30, False), (30, 30, 29, False)],
    )
    def test_is_enough_from_ten_of_each_in_thirty_conversations(
        self, ups: int, downs: int, clusters: int, is_enough: bool
    ) -> None:
        rated = build_rated(ups, downs, clusters)
        assert rated.counts == (ups, downs, clusters)
        assert rated.is_enough is is_enough


LEVELS = Levels(alpha=0.06, noninferiority=0.06)


def compare(*scores: PairedScores, rated: RatedScores | None = None, **options: bool) -> dict[str, Comparison]:
    found = build_comparisons(scores, rated, Margins(rouge_l=0.03), LEVELS, **options)
    return {comparison.name: comparison for comparison in found}


class TestBuildComparisons:
    def test_shares_the_level_of_superiority(self) -> None:
        without = compare(build_paired())
        assert [(c.name, c.margin, c.level) for c in without.values()] == [
            ("log_perplexity", 0.02, 0.03),
            ("rouge_l", 0.03, 0.03),
            ("bleu", 1.0, 0.06),
        ]
        with_reward = compare(
            build_paired(), build_paired("reward"), rated=build_rated(20, 20, 40), is_head_usable=True
        )
        assert {name: c.level for name, c in with_reward.items() if c.weight} == pytest.approx(
            {"log_perplexity": 0.006, "rouge_l": 0.006, "reward": 0.048}
        )
        assert (with_reward["rating_auc"].margin, with_reward["rating_auc"].weight) == (0.10, 0.0)

    @pytest.mark.parametrize(("has_reward", "is_usable"), [(True, False), (False, True)])
    def test_a_reward_that_cannot_decide_leaves_the_level_to_the_others(
        self, has_reward: bool, is_usable: bool
    ) -> None:
        scores = [build_paired(), *([build_paired("reward")] if has_reward else [])]
        found = compare(*scores, is_head_usable=is_usable)
        assert {name: c.weight for name, c in found.items() if c.weight} == {"log_perplexity": 0.5, "rouge_l": 0.5}

    def test_misses_what_a_complete_table_must_have(self) -> None:
        found = compare(build_paired(), is_complete=True)
        assert [name for name, c in found.items() if not c.clusters] == [
            *("log_perplexity", "bleu", "chrf", "distinct_2", "repetition", "reply_words", "filtered")
        ]

    def test_gains_point_to_the_better_candidate(self) -> None:
        found = compare(build_paired("rouge_l"), build_paired("log_perplexity"))
        assert found["log_perplexity"].gains == pytest.approx(-found["rouge_l"].gains)
        assert (found["rouge_l"].gains > 0).all()
        assert (found["rouge_l"].clusters, found["bleu"].clusters) == (2, 0)

    def test_holds_length_to_both_sides(self) -> None:
        rows = 120
        words = build_paired("reply_words", rows=rows)
        for factor, is_refused in ((1.0, False), (1.2, False), (1.5, True), (0.5, True)):
            noise = np.linspace(-0.01, 0.01, rows)
            found = compare(
                dataclasses.replace(words, production=np.full(rows, 40.0), candidate=40 * factor + noise),
            )["reply_words"]
            assert (found.margin, found.is_refused) == (10.0, is_refused)
            assert (found.p_noninferior <= 0.06) is not is_refused

    def test_holds_to_the_anchor_too(self) -> None:
        rows = 120
        noise = np.linspace(-0.01, 0.01, rows)
        scores = build_paired(rows=rows)
        scores = dataclasses.replace(scores, candidate=scores.production - 0.02 + noise)
        alone = compare(scores)["rouge_l"]
        assert alone.p_noninferior <= 0.06 and alone.p_noninferior_anchor == 0.0 and not alone.is_refused
        assert alone.anchor_margin is None
        fallen = compare(dataclasses.replace(scores, anchor=scores.production + 0.03))["rouge_l"]
        assert fallen.p_noninferior <= 0.06 < fallen.p_noninferior_anchor
        assert fallen.is_refused
        assert fallen.summary.against_anchor == pytest.approx(-0.05)

    def test_takes_the_margin_of_a_length_from_the_model_it_is_held_to(self) -> None:
        rows = 120
        noise = np.linspace(-0.01, 0.01, rows)
        words = dataclasses.replace(
            build_paired("reply_words", rows=rows), production=np.full(rows, 40.0), candidate=60 + noise
        )
        long_ago = dataclasses.replace(words, anchor=np.full(rows, 60.0))
        found = compare(long_ago)["reply_words"]
        assert (found.margin, found.anchor_margin) == (10.0, 15.0)
        assert found.p_noninferior_anchor <= 0.06 < found.p_noninferior

    @pytest.mark.parametrize(
        ("reference", "allowed", "refused"),
        [
            (None, (31.0, 49.0), (29.0, 51.0)),
            (20.0, (16.0, 49.0), (14.0, 51.0)),  # from three quarters of the shorter
            (60.0, (31.0, 74.0), (29.0, 76.0)),  # to five quarters of the longer
        ],
    )
    def test_lets_a_length_come_as_near_to_the_references_as_it_likes(
        self, reference: float | None, allowed: tuple[float, ...], refused: tuple[float, ...]
    ) -> None:
        rows = 120
        noise = np.linspace(-0.01, 0.01, rows)
        words = dataclasses.replace(
            build_paired("reply_words", rows=rows),
            production=np.full(rows, 40.0),
            reference=None if reference is None else np.full(rows, reference),
        )
        for length in (*allowed, *refused):
            found = compare(dataclasses.replace(words, candidate=length + noise, anchor=np.full(rows, 40.0)))
            verdict = found["reply_words"]
            assert verdict.is_refused is (length in refused)
            assert (max(verdict.p_noninferior, verdict.p_noninferior_anchor) <= 0.06) is (length in allowed)
            assert verdict.margin == verdict.anchor_margin

    @pytest.mark.parametrize("written", [0, 30])
    def test_takes_the_length_of_the_references_that_set_one(self, written: int) -> None:
        rows = 120
        reference = np.where(np.arange(rows) < written, 60.0, np.nan)
        words = dataclasses.replace(build_paired("reply_words", rows=rows), production=np.full(rows, 40.0))
        found = compare(dataclasses.replace(words, candidate=np.full(rows, 60.0), reference=reference))["reply_words"]
        assert found.is_refused is (written == 0)

    def test_holds_the_ratings_to_the_anchor_too(self) -> None:
        rated = build_rated(20, 20, 40)
        falling = np.arange(40, dtype=np.float64)[::-1]
        alone = compare(rated=rated)["rating_auc"]
        assert (alone.anchor_gains, alone.p_noninferior_anchor) == (None, 0.0)
        held = compare(rated=dataclasses.replace(rated, anchor=falling))["rating_auc"]
        assert held.summary.against_anchor == pytest.approx(-1.0)  # up-rated rows come first: the candidate errs on all
        assert held.is_refused

    def test_decides_on_the_win_rate_of_the_reward(self) -> None:
        rows = 100
        gains = np.where(np.arange(rows) < 65, 0.01, -0.5)  # most win by little, so the mean falls
        gains[:10] = 0.0
        scores = dataclasses.replace(
            build_paired("reward", rows=rows),
            candidate=gains,
            production=np.zeros(rows),
            cluster=np.arange(rows).astype(np.str_),
        )
        reward = compare(scores, build_paired(), is_head_usable=True)["reward"]
        assert (reward.wins, reward.differing) == (55, 90)
        assert reward.p_superior == pytest.approx(stats.binomtest(55, 90, 0.5, alternative="greater").pvalue)
        assert (reward.summary.wins, reward.summary.losses) == (55, 35)
        same = dataclasses.replace(scores, candidate=scores.production)
        assert compare(same, is_head_usable=True)["reward"].summary.smallest_detectable is None

    @pytest.mark.parametrize(
        ("clusters", "more", "fewer", "passes", "says"),
        [
            (120, 0, 0, True, "in no conversation more, for 120 conversations are too few"),
            (120, 1, 1, True, "in no conversation more"),
            (120, 1, 0, False, "in more conversations, and 120 conversations are too few"),
            (400, 0, 0, True, "no worse than its margin of 0.02 allows"),
            (400, 1, 0, False, "not shown to stay within its margin of 0.02"),
            (900, 3, 0, True, "no worse than its margin of 0.02 allows"),
            (400, 40, 0, False, "worse than its margin of 0.02 allows"),
        ],
    )
    def test_counts_what_the_filter_stops(self, clusters: int, more: int, fewer: int, passes: bool, says: str) -> None:
        gains = np.array([-1.0] * more + [1.0] * fewer + [0.0] * (clusters - more - fewer))
        paired = PairedScores(
            name="filtered",
            candidate=np.maximum(-gains, 0),
            production=np.maximum(gains, 0),
            cluster=np.arange(clusters).astype(np.str_),
            weight=np.ones(clusters),
            higher_is_better=False,
        )
        levels = Levels(alpha=spend_alpha(1), noninferiority=spend_alpha(1))
        found = {c.name: c for c in build_comparisons([paired], None, Margins(), levels)}["filtered"]
        assert (not found.is_unproven and not found.is_refused) is passes
        assert says in explain_margin(found).sentence

    def test_names_whose_scores_are_broken(self) -> None:
        scores = build_paired()
        found = compare(dataclasses.replace(scores, anchor=np.full(4, np.nan)))["rouge_l"]
        assert found.broken == "the anchor is not a finite number in 4 of 4 rows"
        assert found.is_refused
