"""The verdict reaches both reports, and text in a reason stays text."""

from __future__ import annotations

import json
from pathlib import Path

from data.vocabulary import Verdict
from worker.gate import GateDecision, Reason
from worker.verdict_page import MARKER, add_verdict


def test_writes_the_verdict_into_page_and_json(tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"run_id": "run-1"}')
    (tmp_path / "report.html").write_text(f"<h1>x</h1>{MARKER}")
    decision = GateDecision(
        verdict=Verdict.REFUSE,
        p=1.0,
        alpha=0.009,
        consultation=1,
        clusters=120,
        reasons=(Reason(metric=None, test="evidence", p=None, sentence="It is <b>worse</b>."),),
        metrics=(),
    )
    add_verdict(tmp_path, decision, 3)
    page = (tmp_path / "report.html").read_text()
    assert "Refused: the evidence says that it is worse" in page
    assert "It is &lt;b&gt;worse&lt;/b&gt;." in page
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["version"], report["decision"]["verdict"]) == (3, "refuse")
