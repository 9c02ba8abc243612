"""The verdict reaches both reports, and text in a reason stays text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from data.lifetime import Budget
from data.vocabulary import Verdict
from worker.gate import GateDecision, Reason
from worker.verdict_page import MARKER, add_verdict


def build_decision(verdict: Verdict) -> GateDecision:
    return GateDecision(
        verdict=verdict,
        p=1.0,
        alpha=0.009,
        consultation=1,
        clusters=120,
        reasons=(Reason(metric=None, test="evidence", p=None, sentence="It is <b>worse</b>."),),
        metrics=(),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The reports as the trainer leaves them."""
    (tmp_path / "report.json").write_text('{"run_id": "run-1"}')
    (tmp_path / "report.html").write_text(f"<h1>x</h1>{MARKER}")
    return tmp_path


def test_writes_the_verdict_into_page_and_json(folder: Path) -> None:
    add_verdict(folder, build_decision(Verdict.REFUSE), 3)
    page = (folder / "report.html").read_text()
    assert "Refused: the evidence says that it is worse" in page
    assert "It is &lt;b&gt;worse&lt;/b&gt;." in page
    report = json.loads((folder / "report.json").read_text())
    assert (report["version"], report["decision"]["verdict"]) == (3, "refuse")


def test_says_that_what_passed_waits(folder: Path) -> None:
    add_verdict(folder, build_decision(Verdict.PROMOTE), 3, waits=True)
    page = (folder / "report.html").read_text()
    assert "Passed the gate and waits for approval" in page
    assert "Promoted" not in page


def test_hides_what_the_hold_out_said_of_a_candidate_that_was_not_promoted(folder: Path) -> None:
    report = {
        "metrics": {"bleu": {"after": 7}},
        "samples": [{"before": "x"}],
        "win_rate": {"rate": 0.4},
        "rows": {"a": 1},
    }
    (folder / "report.json").write_text(json.dumps(report))
    (folder / "report.html").write_text(f"<h1>x</h1>{MARKER}<h2>BLEU 7.0</h2><h2>Training</h2>loss")
    add_verdict(folder, build_decision(Verdict.REFUSE), 3)
    page, shown = (folder / "report.html").read_text(), json.loads((folder / "report.json").read_text())
    assert "BLEU 7.0" not in page
    assert "<h2>Training</h2>loss" in page and "<b>By how much?</b> Not shown." in page
    assert (shown["metrics"], shown["samples"], shown["win_rate"], shown["rows"]) == ({}, [], {}, {"a": 1})
    assert shown["decision"]["p"] is None


def test_answers_by_how_much_and_how_sure(folder: Path) -> None:
    (folder / "report.html").write_text(f"{MARKER}<h2>BLEU 7.0</h2>")
    gain = Reason("rouge_l", "superiority", 0.001, "ROUGE-L rose; better with p = 0.001.", "ROUGE-L is better.")
    decision = dataclasses.replace(
        build_decision(Verdict.PROMOTE), p=0.004, reasons=(gain,), budget=Budget(consultations=1, promotions=0)
    )
    add_verdict(folder, decision, 3)
    page = (folder / "report.html").read_text()
    assert "<b>By how much?</b> ROUGE-L rose; better with p = 0.001." in page
    assert "<b>How sure?</b> p = 0.004 for better, no worse and no less safe together" in page
    assert "Consultation 1 of 300" in page and "BLEU 7.0" in page
