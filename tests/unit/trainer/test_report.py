"""The report: figures with intervals, and text that stays text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from trainer.funnel import build_funnel
from trainer.report import Texts, describe_change, save_report

REPORT: dict[str, Any] = {
    "run_id": "run-1",
    "base_model": "tiny",
    "production_version": 0,
    "digest": "d" * 64,
    "snapshot_digest": "s" * 64,
    "pool_rows": 3,
    "rows": {"supervised": 1, "rated": 1, "dev": 0, "holdout_references": 2, "holdout_rated": 2},
    "dropped": {"too_long": 1},
    "funnel": build_funnel({"pool_rows": 3, "dropped": {}, "scrubbed": {"email": 2}}, {"too_long": 1}),
    "metrics": {},
    "samples": [{"context": "<script>alert(1)</script>", "before": "", "after": "<b>hi</b>"}],
    "recipe": {"trainable": "full"},
    "seconds": {"training": 60.0, "evaluating": 1.0},
}


def build_metric(title: str, low: float | None, high: float | None, *, higher: bool | None = True) -> dict[str, Any]:
    middle = 0.0 if low is None or high is None else (low + high) / 2
    return {
        "title": title,
        "meaning": "",
        "higher_is_better": higher,
        "before": 20.0,
        "after": 19.0,
        "difference": middle,
        "low": low,
        "high": high,
    }


class TestDescribeChange:
    def test_tells_apart_better_worse_and_unclear(self) -> None:
        metrics = {
            "perplexity": build_metric("Perplexity", -0.1, -0.05, higher=False),
            "rouge_l": build_metric("ROUGE-L", 0.01, 0.03),
            "bleu": build_metric("BLEU", -3.0, -1.0),
            "chrf": build_metric("chrF", -1.0, 1.0),
            "distinct_2": build_metric("Distinct-2", None, None),
            "reply_words": build_metric("Words in a reply", 1.0, 2.0, higher=None),
        }
        assert describe_change(metrics) == (
            "The 95 % intervals say: better in Perplexity and ROUGE-L, worse in BLEU; chrF not clearly changed."
        )

    def test_says_so_when_nothing_has_clearly_changed(self) -> None:
        assert describe_change({"chrf": build_metric("chrF", -1.0, 1.0)}).startswith("No measure has clearly changed")
        assert describe_change({}) == ""


class TestSaveReport:
    def test_escapes_what_people_and_models_wrote(self, tmp_path: Path) -> None:
        metrics = tmp_path / "metrics.jsonl"
        metrics.write_text(json.dumps({"phase": "supervised", "step": 1, "loss": 2.0, "eval_loss": 2.1}) + "\n")
        save_report(REPORT | {"metrics": {"chrf": build_metric("chrF", None, None)}}, metrics)
        page = (tmp_path / "report.html").read_text()
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "<script>" not in page
        assert page.count("<svg") == 2  # loss and length; no two texts for a cloud
        assert "<!-- verdict -->" in page
        assert json.loads((tmp_path / "report.json").read_text())["run_id"] == "run-1"

    def test_shows_how_often_fresh_replies_win_and_severe_cases(self, tmp_path: Path) -> None:
        line = {"group": "crisis", "category": "suicide", "items": 9, "mild_before": 0, "mild_after": 1}
        report = REPORT | {
            "metrics": {"reward": build_metric("Chance of a thumb up", 0.01, 0.02) | {"margin": None}},
            "win_rate": {"wins": 60, "losses": 40, "ties": 3, "rate": 0.6, "low": 0.497, "high": 0.697},
            "head": {"reason": "The reward head ranks ratings."},
            "safety": [line | {"severe_before": 1, "severe_after": 2}],
        }
        save_report(report, tmp_path / "metrics.jsonl")
        page = (tmp_path / "report.html").read_text()
        assert "Fresh replies win in 60 % of 100 conversations that differ (95 % interval 50 to 70 %)." in page
        assert 'Severe replies: 1 before, <b class="worse">2 after</b>, of 9.' in page
        assert "The reward head ranks ratings." in page
        assert page.index("Fresh replies win") < page.index("Severe replies") < page.index("<h2>Before and after")

    def test_works_without_any_training_step(self, tmp_path: Path) -> None:
        save_report(REPORT, tmp_path / "metrics.jsonl")
        assert (tmp_path / "report.html").exists()

    def test_answers_on_the_first_screen_and_steps_back_for_the_verdict(self, tmp_path: Path) -> None:
        metrics = {"perplexity": build_metric("Perplexity", -0.1, -0.05, higher=False)}
        save_report(REPORT | {"metrics": metrics}, tmp_path / "metrics.jsonl")
        page = (tmp_path / "report.html").read_text()
        assert page.index("<!-- verdict -->") < page.index("Not judged yet") < page.index("better in Perplexity")
        assert '<td>Perplexity <b class="better">-5.0%</b></td><td class="plot better"><svg class="strip"' in page
        assert "<script" not in page

    def test_draws_clouds_into_the_page_only(self, tmp_path: Path) -> None:
        texts = Texts(contexts=["<b>sleepless</b> nights"] * 2, before=["breathe"] * 2, after=["breathe", "listen"])
        save_report(REPORT, tmp_path / "metrics.jsonl", texts)
        page = (tmp_path / "report.html").read_text()
        assert "sleepless</text>" in page
        assert [title in page for title in ("What people write", "Replies before", "Replies after")] == [
            True,
            True,
            False,
        ]
        assert "sleepless" not in (tmp_path / "report.json").read_text()

    def test_shows_what_left_what_changed_and_what_was_masked(self, tmp_path: Path) -> None:
        save_report(REPORT, tmp_path / "metrics.jsonl")
        page = (tmp_path / "report.html").read_text()
        assert "left out: not even a short reply fits into max_tokens" in page
        assert "<td>email</td>" in page

    def test_counts_synthetic_and_pseudo_rated_rows(self, tmp_path: Path) -> None:
        report = REPORT | {
            "augmented": {"casing": 1, "greeting": 2},
            "pseudo_labels": {"unrated": 9, "up": 2, "down": 1},
            "kl_to_base": {"nats_per_token": 0.25, "standard_error": None, "replies": 4},
            "method": "kto",
            "method_reason": "Enough.",
        }
        save_report(report, tmp_path / "metrics.jsonl")
        page = (tmp_path / "report.html").read_text()
        assert "3 have a synthetic context (casing 1, greeting 2)" in page
        assert "2 up and 1 down of 9" in page
        assert "KL 0.250 nats for each reply token" in page
