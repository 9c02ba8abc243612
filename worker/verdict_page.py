"""The verdict in the files that people and programs read: report.html and report.json of a run."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from data.vocabulary import Verdict
from worker.gate import GateDecision
from worker.wording import write_p

MARKER = "<!-- verdict -->"
HOLDOUT_KEYS = ("metrics", "samples", "win_rate", "slices", "safety", "head")  # of report.json: what the hold-out said
_REPORT, _PAGE = "report.json", "report.html"
_HOLDOUT_PART = re.compile(re.escape(MARKER) + r".*?(?=<h2>Training</h2>|\Z)", re.DOTALL)
_WAITS = "Passed the gate and waits for approval: the evidence says that it is better"
_HEADLINES = {
    Verdict.PROMOTE: "Promoted: the evidence says that it is better",
    Verdict.REFUSE: "Refused: the evidence says that it is worse",
    Verdict.NOT_ENOUGH_EVIDENCE: "Not promoted: not enough evidence that it is better",
}
_HIDDEN = (
    "Not shown. Scores of a candidate that was not promoted stay hidden, so that nobody tunes to the hold-out; the dev "
    "split is for that."
)


def hide_holdout(report: dict[str, Any]) -> dict[str, Any]:
    """The report without what the hold-out said of the candidate, of any kind: scores, replies, slices."""
    empty: dict[str, Any] = {name: type(report[name])() for name in HOLDOUT_KEYS if report.get(name) is not None}
    return report | empty


@dataclass(frozen=True)
class Reports:
    """Both files as they were read."""

    report: dict[str, Any]
    page: str


def withhold_scores(folder: Path) -> Reports:
    """Take what the hold-out said out of both files, until a verdict may show it; returns them whole."""
    whole = _read(folder)
    _write(folder, _hide(whole))
    return whole


def add_verdict(
    folder: Path, decision: GateDecision, version_number: int, whole: Reports | None = None, *, waits: bool = False
) -> None:
    """Write the decision into report.json and, at its marker, into report.html; `waits` for an admin's approval.

    Without a promotion what the hold-out said leaves both files: of the page, all from the marker to the part on
    training. `whole` are the files as they were before it was withheld.
    """
    reports = whole or _read(folder)
    if not decision.shows_scores:
        reports = _hide(reports)
    report = reports.report | {"version": version_number, "decision": decision.to_dict()}
    headline = _WAITS if waits else _HEADLINES[decision.verdict]
    page = reports.page.replace(MARKER, _render(headline, decision, version_number), 1)
    _write(folder, Reports(report, page))


def _read(folder: Path) -> Reports:
    return Reports(json.loads((folder / _REPORT).read_text()), (folder / _PAGE).read_text())


def _write(folder: Path, reports: Reports) -> None:
    (folder / _REPORT).write_text(json.dumps(reports.report, indent=2) + "\n")
    (folder / _PAGE).write_text(reports.page)


def _hide(reports: Reports) -> Reports:
    return Reports(hide_holdout(reports.report), _HOLDOUT_PART.sub(MARKER, reports.page, count=1))


def _render(headline: str, decision: GateDecision, version_number: int) -> str:
    """What the first screen answers: is it better, by how much, how sure, and why was it (not) promoted."""
    reasons = "".join(f"<li>{escape(reason['sentence'])}</li>" for reason in decision.list_shown_reasons())
    answers = (("By how much", _tell_amount(decision)), ("How sure", _tell_certainty(decision)))
    lines = "".join(f"<p><b>{question}?</b> {escape(answer)}</p>" for question, answer in answers)
    budget = f"<p>{escape(decision.budget.describe())}</p>" if decision.budget else ""
    return (
        f'<section class="verdict"><strong>{escape(headline)}</strong>{lines}'
        f"<p><b>Why?</b></p><ul>{reasons}</ul>"
        f"<p>Version {version_number}, judged on {decision.clusters} conversations.</p>{budget}</section>"
    )


def _tell_amount(decision: GateDecision) -> str:
    """The clearest gain."""
    if not decision.shows_scores:
        return _HIDDEN
    return next(
        (reason.sentence for reason in decision.reasons if reason.test == "superiority"), "No gain was measured."
    )


def _tell_certainty(decision: GateDecision) -> str:
    level = f"{decision.alpha:.2g}, the level of consultation {decision.consultation} of this hold-out"
    if decision.shows_scores:
        return f"{write_p(decision.p)} for better, no worse and no less safe together, against {level}."
    if decision.verdict is Verdict.REFUSE:
        return (
            f"At least one part is worse with confidence: at {level}, or by a count of harm that allows no case more."
        )
    return f"Not sure enough at {level}."
