"""The report: figures with intervals, and text that stays text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from trainer.evaluation import Answers
from trainer.report import save_report, summarise_metrics

REPORT: dict[str, Any] = {
    "run_id": "run-1",
    "base_model": "tiny",
    "production_version": 0,
    "digest": "d" * 64,
    "snapshot_digest": "s" * 64,
    "pool_rows": 3,
    "rows": {"supervised": 1, "rated": 1, "dev": 0, "holdout_references": 2, "holdout_rated": 2},
    "dropped": {"too_long": 1},
    "metrics": {},
    "samples": [{"context": "<script>alert(1)</script>", "before": "", "after": "<b>hi</b>"}],
    "recipe": {"trainable": "full"},
    "seconds": {"training": 60.0, "evaluating": 1.0},
}


def build_answers(*replies: str) -> Answers:
    return Answers(replies=list(replies), reference_log_probabilities=[], rated_log_probabilities=[])


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
        metric = summarise_metrics(table, build_answers("a b"), build_answers("a b"))["perplexity"]
        assert metric["before"] == pytest.approx(np.exp(2.5))
        assert metric["after"] == pytest.approx(np.exp(1.5))
        assert (metric["difference"], metric["low"], metric["high"]) == pytest.approx((-1.0, -1.0, -1.0))

    def test_gives_the_rating_auc_an_interval(self) -> None:
        is_up: list[bool | None] = [True, False] * 10
        candidate = [1.0 if up else 0.0 for up in is_up]
        table = build_table("rating_score", candidate, list(np.linspace(0, 1, 20)), is_up)
        metric = summarise_metrics(table, build_answers("a b"), build_answers("a b"))["rating_auc"]
        assert metric["after"] == 1.0
        assert metric["before"] < 0.6
        assert metric["low"] <= metric["difference"] <= metric["high"]

    def test_leaves_the_auc_out_where_ratings_are_one_sided(self) -> None:
        table = build_table("rating_score", [1.0, 2.0], [0.0, 0.0], [True, True])
        assert "rating_auc" not in summarise_metrics(table, build_answers("a b"), build_answers("a b"))


class TestSaveReport:
    def test_escapes_what_people_and_models_wrote(self, tmp_path: Path) -> None:
        metrics = tmp_path / "metrics.jsonl"
        metrics.write_text(json.dumps({"phase": "supervised", "step": 1, "loss": 2.0, "eval_loss": 2.1}) + "\n")
        save_report(REPORT, metrics, ([3.0, 4.0], [5.0]))
        page = (tmp_path / "report.html").read_text()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "<script>" not in page
        assert page.count("<svg") == 2
        assert "<!-- verdict -->" in page
        assert json.loads((tmp_path / "report.json").read_text())["run_id"] == "run-1"

    def test_works_without_any_training_step(self, tmp_path: Path) -> None:
        save_report(REPORT, tmp_path / "metrics.jsonl", ([], []))
        assert (tmp_path / "report.html").exists()
