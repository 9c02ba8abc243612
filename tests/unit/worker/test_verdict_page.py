"""The verdict reaches both reports, and text in a reason stays text."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
