"""`/dashboard/runs/{run_id}`: one run's report: verdict, metrics, what it learnt from, and replies side by side."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from fastapi import Request

from api.routes.runs import read_run
from api.schemas.run import Run
from api.services import Services
from api.ui.access import Visit, page
from api.ui.assets import FOLDER
from api.ui.charts import Interval, draw_cloud, draw_forest, draw_funnel, draw_histograms, draw_lines
from api.ui.frame import Loaded, card, empty, frame
from api.ui.live_run import KINDS, LiveRun, find_folder, read_losses
from api.ui.markup import badge, facts, table, write_count, write_duration, write_time
from api.ui.parts import draw, tag
from data.errors import InvalidDataset
from data.lifetime import Budget
from data.snapshot import load_snapshot
from data.vocabulary import KeyRole, RunStatus, Split, Verdict
from db.evaluations import find_evaluation
from db.models import Evaluation
from db.snapshots import find_snapshot
from db.versions import get_version

_CLOUD_WORDS = 60
_CLOUD_ROWS = 5_000  # of the snapshot, which are read for the clouds
_WORD = re.compile(r"[a-z][a-z']{2,}")
_STOP_WORDS = frozenset((FOLDER / "stop_words.txt").read_text().split())


@dataclass(frozen=True)
class Report:
    """All that is known of a run."""

    run: Run
    decision: dict[str, Any] | None
    report: dict[str, Any]
    manifest: dict[str, Any]
    losses: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]
    lengths: tuple[Sequence[float], Sequence[float]] | None  # words in each reply, before and after
    contexts: list[tuple[str, int]] = field(default_factory=list)
    replies: list[tuple[str, int]] = field(default_factory=list)


@page("/dashboard/runs/{run_id}", access=KeyRole.ADMIN, title="Run")
async def show_report(visit: Visit, request: Request) -> None:
    """The report."""
    run_id = request.path_params["run_id"]
    with frame(visit, "/dashboard/runs"):
        place = Loaded(
            lambda: read_report(visit.services, run_id),
            lambda found: _show(visit, found, lambda: place.refresh()),
            "bare",
        )


def read_report(services: Services, run_id: str) -> Report:
    """The report from the database, and from the run's folder where that is on this machine.

    Raises:
        NotFound: there is no such run.
    """
    run = read_run(run_id, services)
    with services.database.reading() as session:
        evaluation, snapshot = find_evaluation(session, run_id), find_snapshot(session, run_id)
        report = get_version(session, run.version_number).report if run.version_number is not None else None
    folder = find_folder(services, run)
    contexts, replies = _count_words(folder / "snapshot")
    return Report(
        run=run,
        decision=evaluation.decision if evaluation else None,
        report=report or {},
        manifest=snapshot.manifest if snapshot else {},
        losses=read_losses(folder),
        lengths=_read_lengths(folder / "scores.parquet") if _shows_scores(evaluation) else None,
        contexts=contexts,
        replies=replies,
    )


def _shows_scores(evaluation: Evaluation | None) -> bool:
    """Whether scores on the hold-out may be shown: of a candidate that was not promoted they stay hidden."""
    return evaluation is not None and evaluation.verdict is Verdict.PROMOTE


def _show(visit: Visit, found: Report, refresh: Callable[[], Awaitable[None]]) -> None:
    run = found.run
    with tag("div", "page-head"):
        with tag("div"):
            tag("h1", "", f"Run of {write_time(run.created_at_s)}")
            tag("p", "", _describe(run))
        draw(badge(run.status.value, KINDS.get(run.status, "busy")), "", "span")
    if run.status.is_active:
        with card("Now"):
            LiveRun(visit, refresh).draw()
    with card("Verdict"):
        _show_verdict(found)
    with card("Before and after", hint="on the hold-out, with 95 % intervals over conversations"):
        _show_metrics(found.report.get("metrics", {}))
    with tag("div", "grid"):
        with card("Training", "half", "loss in nats over steps"):
            _show_losses(found)
        with card("Length of the replies", "half", "words in each reply to the hold-out"):
            _show_lengths(found)
    with card("The same prompts, before and after"):
        _show_samples(found.report.get("samples", []))
    with tag("div", "grid"):
        with card("Words of the contexts", "half", "training rows, common words left out"):
            _show_cloud(found.contexts)
        with card("Words of the replies", "half", "training rows, common words left out"):
            _show_cloud(found.replies)
        with card("Data set", "wide", "from the pool to training"):
            _show_funnel(found)
        with card("Recipe", "third"):
            draw(facts((name, str(value)) for name, value in run.recipe.items()))


def _describe(run: Run) -> str:
    parts = [run.id]
    if run.version_number is not None:
        parts.append(f"made version {run.version_number}")
    if run.started_at_s and run.finished_at_s:
        parts.append(f"took {write_duration(run.finished_at_s - run.started_at_s)}")
    if run.attempt > 1:
        parts.append(write_count(run.attempt, "attempt"))
    return ", ".join(parts)


def _show_verdict(found: Report) -> None:
    run, decision = found.run, found.decision
    if decision is None:
        tag("p", "", run.reason or ("The run is under way." if run.status.is_active else "No reason was given."))
        return
    headlines = {
        "promote": "Passed: the evidence says that it is better",
        "refuse": "Refused: the evidence says that it is worse",
        "not_enough_evidence": "Not promoted: not enough evidence that it is better",
    }
    tag("p", "figure small", headlines.get(decision["verdict"], str(decision["verdict"])))
    if run.status is RunStatus.SUCCEEDED and run.reason:
        tag("p", "quiet", run.reason)
    with tag("ul", "lines"):
        for reason in decision["reasons"]:
            tag("li", "", reason["sentence"])
    found_p = "Tested at" if decision["p"] is None else f"p = {decision['p']:.3g} against"
    tag(
        "p",
        "quiet",
        f"{found_p} a level of {decision['alpha']:.3g} at consultation "
        f"{decision['consultation']}, over {write_count(decision['clusters'], 'conversation')}.",
    )
    budget = decision.get("budget")
    if budget:
        tag("p", "quiet", Budget(**{name: budget[name] for name in ("consultations", "promotions")}).describe())


def _show_metrics(metrics: dict[str, dict[str, Any]]) -> None:
    if not metrics:
        empty("Nothing is shown: nothing was measured, or the candidate was not promoted and its scores stay hidden.")
        return
    draw(draw_forest([_build_interval(metric) for metric in metrics.values()]))
    with tag("p", "legend"):
        tag("span", "after", "better")
        tag("span", "worse", "worse")
        tag("span", "", "not told apart, or neither is better")
    tag("p", "quiet", "Each line has a scale of its own; the dashed line is no difference.")
    headings = ("Measure", "Before", "After", "Difference", "95 % interval", "What it is")
    rows = [
        (
            metric["title"],
            _write(metric["before"]),
            _write(metric["after"]),
            _write(metric["difference"], signed=True),
            _write_interval(metric),
            metric["meaning"],
        )
        for metric in metrics.values()
    ]
    draw(table(headings, rows, numbers=(1, 2, 3, 4)))


def _build_interval(metric: dict[str, Any]) -> Interval:
    difference, low, high = (metric[name] for name in ("difference", "low", "high"))
    kind = ""
    if metric["higher_is_better"] is not None and low is not None and not low <= 0 <= high:
        kind = "better" if (difference > 0) == metric["higher_is_better"] else "worse"
    note = _write(difference, signed=True) + (f" ({_write_interval(metric)})" if low is not None else "")
    return Interval(metric["title"], difference or 0.0, low, high, note, kind)


def _write(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    decimals = 3 if abs(value) < 10 else 1
    return f"{value:{'+' if signed else ''}.{decimals}f}"


def _write_interval(metric: dict[str, Any]) -> str:
    if metric["low"] is None:
        return "–"
    return f"{_write(metric['low'], signed=True)} to {_write(metric['high'], signed=True)}"


def _show_losses(found: Report) -> None:
    if not found.losses:
        empty("No curve: the run has not trained, or its folder is on another machine.")
        return
    draw(draw_lines(found.losses, "step", "training loss in nats"))
    with tag("p", "legend"):
        for position, (phase, _) in enumerate(found.losses):
            tag("span", "second" if position else "after", phase)


def _show_lengths(found: Report) -> None:
    if found.lengths is None:
        empty("No lengths: nothing was measured, or the run's folder is on another machine.")
        return
    before, after = found.lengths
    draw(draw_histograms(before, after, "words"))
    with tag("p", "legend"):
        for name, values in (("before", before), ("after", after)):
            mean = sum(values) / len(values) if values else 0.0
            tag("span", name, f"{name}: {mean:.1f} words on average")


def _show_samples(samples: Sequence[dict[str, str]]) -> None:
    if not samples:
        empty("No samples were kept.")
    for sample in samples:
        with tag("div", "sample"):
            tag("p", "quote", sample["context"])
            with tag("div", "pair"):
                for name in ("before", "after"):
                    with tag("div"):
                        tag("h3", "", name.capitalize())
                        tag("span", "", sample[name] or "(no words came)")


def _show_cloud(words: Sequence[tuple[str, int]]) -> None:
    if words:
        draw(draw_cloud(words))
    else:
        empty("No words: nothing was collected, or the run's folder is on another machine.")


def _show_funnel(found: Report) -> None:
    manifest = found.manifest
    if not manifest:
        empty("Nothing was collected in this run.")
        return
    dropped = {**manifest.get("dropped", {}), **found.report.get("dropped", {})}
    counts: dict[str, dict[str, int]] = manifest.get("counts", {})
    steps = [("In the pool", int(manifest.get("pool_rows", 0)), False)]
    steps += [(f"Out: {reason.replace('_', ' ')}", rows, True) for reason, rows in dropped.items()]
    steps += [(f"For {split.value}", sum(counts.get(split.value, {}).values()), False) for split in Split]
    draw(draw_funnel(steps))
    scrubbed = sum(manifest.get("scrubbed", {}).values())
    if scrubbed:
        tag("p", "quiet", f"Personal data was masked in {write_count(scrubbed, 'place')}.")


def _read_lengths(file: Path) -> tuple[Sequence[float], Sequence[float]] | None:
    try:
        scores = pd.read_parquet(file, columns=["metric", "production", "candidate"])
    except (OSError, ValueError):
        return None
    words = scores[scores["metric"] == "reply_words"]
    return None if words.empty else (words["production"].tolist(), words["candidate"].tolist())


def _count_words(folder: Path) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The words of contexts and of replies in training rows; of the hold-out nothing is shown."""
    try:
        rows = [item.row for item in load_snapshot(folder) if item.split is Split.TRAIN][:_CLOUD_ROWS]
    except (InvalidDataset, OSError):
        return [], []
    return _count(row.context for row in rows), _count(row.reply for row in rows if row.rating != "down")


def _count(texts: Iterable[str]) -> list[tuple[str, int]]:
    counts = Counter(word for text in texts for word in _WORD.findall(text.lower()) if word not in _STOP_WORDS)
    return counts.most_common(_CLOUD_WORDS)
