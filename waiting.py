"""Waiting for a run at a terminal: stages, bars, the outcome and its reasons."""

from __future__ import annotations

import time

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskProgressColumn, TextColumn, TimeElapsedColumn

from data.vocabulary import RunStatus
from db import runs
from db.evaluations import find_evaluation
from db.models import Run
from db.session import Database
from settings import get_settings

_POLL_S = 0.5
_JUDGED = (RunStatus.SUCCEEDED, RunStatus.REFUSED, RunStatus.SKIPPED)


def await_run(console: Console, database: Database, run_id: str) -> int:
    """Show the progress until the outcome; 0 when the run was judged (or had too little to train on), else 1."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("queued", total=None)
        while True:
            with database.reading() as session:
                run = runs.get_run(session, run_id)
            if not RunStatus(run.status).is_active:
                break
            progress = run.progress or {}
            loss = f", loss {progress['loss']:.3f}" if progress.get("loss") else ""
            bars.update(
                task,
                description=f"{progress.get('stage', run.status)}{loss}",
                completed=progress.get("step", 0),
                total=progress.get("of"),
            )
            time.sleep(_POLL_S)
    _print_outcome(console, database, run)
    return 0 if run.status in _JUDGED else 1


def _print_outcome(console: Console, database: Database, run: Run) -> None:
    console.print(f"{run.id}: {run.status}", style="bold", highlight=False)
    with database.reading() as session:
        evaluation = find_evaluation(session, run.id)
    decision = evaluation.decision if evaluation else None
    sentences = [reason["sentence"] for reason in decision["reasons"]] if decision else [run.reason or ""]
    for sentence in sentences:
        console.print(f"  {sentence}", highlight=False)
    page = get_settings().runs / run.id / f"attempt-{run.attempt}" / "report.html"
    if page.exists():
        console.print(f"Report: {page}", highlight=False, soft_wrap=True)
