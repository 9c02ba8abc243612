"""The verdict in the files that people and programs read: report.html and report.json of a run."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from data.vocabulary import Verdict
from worker.gate import GateDecision

MARKER = "<!-- verdict -->"
_WAITS = "Passed the gate and waits for approval: the evidence says that it is better"
_HEADLINES = {
    Verdict.PROMOTE: "Promoted: the evidence says that it is better",
    Verdict.REFUSE: "Refused: the evidence says that it is worse",
    Verdict.NOT_ENOUGH_EVIDENCE: "Not promoted: not enough evidence that it is better",
}


def add_verdict(folder: Path, decision: GateDecision, version_number: int, *, waits: bool = False) -> None:
    """Write the decision into report.json and, at its marker, into report.html; `waits` for an admin's approval."""
    report_file, page_file = folder / "report.json", folder / "report.html"
    report = json.loads(report_file.read_text())
    report |= {"version": version_number, "decision": decision.to_dict()}
    report_file.write_text(json.dumps(report, indent=2) + "\n")
    page = page_file.read_text()
    headline = _WAITS if waits else _HEADLINES[decision.verdict]
    page_file.write_text(page.replace(MARKER, _render(headline, decision, version_number), 1))


def _render(headline: str, decision: GateDecision, version_number: int) -> str:
    reasons = "".join(f"<li>{escape(reason.sentence)}</li>" for reason in decision.reasons)
    return (
        f'<section class="verdict"><strong>{escape(headline)}</strong>'
        f"<p>Version {version_number}; p = {decision.p:.4g} against a level of {decision.alpha:.4g} at consultation "
        f"{decision.consultation} of this hold-out, over {decision.clusters} conversations.</p>"
        f"<ul>{reasons}</ul></section>"
    )
