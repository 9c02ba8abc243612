"""What the report shows of a score table."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from data.recipe import Margins
from trainer.summary import count_wins, summarise_metrics


def build_table(metric: str, candidate: list[float], production: list[float], is_up: list[bool | None]) -> pd.DataFrame:
    count = len(candidate)
    return pd.DataFrame(
        {
            "metric": metric,
            "row_id": [str(number) for number in range(count)],
            "cluster": [str(number) for number in range(count)],
            "weight": 1.0,
            "is_up": pd.array(is_up, dtype="boolean"),
            "candidate": candidate,
            "production": production,
        }
    )


class TestSummariseMetrics:
    def test_shows_perplexity_and_tests_it_in_nats(self) -> None:
        table = build_table("log_perplexity", [1.0, 1.5, 2.0], [2.0, 2.5, 3.0], [None] * 3)
        metric = summarise_metrics(table, Margins())["perplexity"]
        assert metric["before"] == pytest.approx(np.exp(2.5))
        assert metric["after"] == pytest.approx(np.exp(1.5))
        assert (metric["difference"], metric["low"], metric["high"]) == pytest.approx((-1.0, -1.0, -1.0))

    def test_gives_the_rating_auc_an_interval(self) -> None:
        is_up: list[bool | None] = [True, False] * 10
        candidate = [1.0 if up else 0.0 for up in is_up]
        table = build_table("rating_score", candidate, list(np.linspace(0, 1, 20)), is_up)
        metric = summarise_metrics(table, Margins())["rating_auc"]
        assert metric["after"] == 1.0
        assert metric["before"] < 0.6
        assert metric["low"] <= metric["difference"] <= metric["high"]

    def test_leaves_the_auc_out_where_ratings_are_one_sided(self) -> None:
        table = build_table("rating_score", [1.0, 2.0], [0.0, 0.0], [True, True])
        assert "rating_auc" not in summarise_metrics(table, Margins())

    def test_takes_a_corpus_measure_from_its_pseudo_values_and_knows_its_margin(self) -> None:
        table = build_table("distinct_2", [0.4, 0.5, 0.45], [0.6, 0.5, 0.7], [None] * 3)
        metric = summarise_metrics(table, Margins())["distinct_2"]
        assert (metric["before"], metric["after"]) == pytest.approx((0.6, 0.45))
        assert metric["low"] <= metric["difference"] == pytest.approx(-0.15)
        table = build_table("rouge_l", [0.4, 0.5], [0.4, 0.5], [None] * 2)
        assert summarise_metrics(table, Margins(rouge_l=0.03))["rouge_l"]["margin"] == 0.03


class TestCountWins:
    def test_counts_conversations_that_differ(self) -> None:
        table = build_table("reward", [0.6, 0.7, 0.5, 0.2], [0.5, 0.5, 0.5, 0.5], [None] * 4)
        wins = count_wins(table)
        assert wins is not None
        assert (wins["wins"], wins["losses"], wins["ties"]) == (2, 1, 1)
        assert wins["rate"] == pytest.approx(2 / 3)
        assert wins["low"] < wins["rate"] < wins["high"]

    def test_has_nothing_to_say_without_a_head_or_a_difference(self) -> None:
        assert count_wins(build_table("bleu", [1.0], [2.0], [None])) is None
        same = count_wins(build_table("reward", [0.5], [0.5], [None]))
        assert same is not None and same["rate"] is None
