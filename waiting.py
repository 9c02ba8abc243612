"""Waiting for a run at a terminal: a bar for each stage with speed, loss and time left; the outcome and its reasons."""

from __future__ import annotations

import time
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from data.vocabulary import JUDGED_STATUSES, RunStatus
from db import runs
from db.evaluations import find_evaluation
from db.models import Run
from db.session import Database
from settings import get_settings

_POLL_S = 0.5


def await_run(console: Console, database: Database, run_id: str) -> int:
    """Show the progress until the outcome; 0 when the run was judged (or had too little to train on), else 1."""
    with StageBars(console) as bars:
        while True:
            with database.reading() as session:
                run = runs.get_run(session, run_id)
            if not RunStatus(run.status).is_active:
                break
            bars.show(run.status, run.progress or {})
            time.sleep(_POLL_S)
        if run.status in JUDGED_STATUSES:
            bars.finish()
    _print_outcome(console, database, run)
    return 0 if run.status in JUDGED_STATUSES else 1


class StageBars:
    """One bar for each stage, in the order in which they come; where no terminal draws bars, a line for each."""

    def __init__(self, console: Console) -> None:
        self._console = console
        columns = (
            SpinnerColumn(finished_text="✓"),
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", style="dim"),
        )
        self._bars = Progress(*columns, console=console, disable=not console.is_terminal)
        self._stage: str | None = None
        self._task: TaskID | None = None
        self._last: dict[str, Any] = {}

    def __enter__(self) -> StageBars:
        self._bars.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def show(self, status: RunStatus, progress: dict[str, Any]) -> None:
        """The state of a run: while it trains or evaluates its progress tells more than its status does."""
        is_told = status in (RunStatus.TRAINING, RunStatus.EVALUATING) and "stage" in progress
        stage = str(progress["stage"] if is_told else status)
        if stage != self._stage:
            self.finish()
            self._stage, self._last = stage, {}
            self._task = self._bars.add_task(stage, total=None, detail="")
            if not self._console.is_terminal:
                self._console.print(stage, highlight=False)
        if self._task is not None and is_told:
            self._last = progress
            self._bars.update(
                self._task, completed=progress.get("step", 0), total=progress.get("of"), detail=describe(progress)
            )

    def finish(self) -> None:
        """Fill the last bar: a stage that another follows is at its end, whatever the last event was that got here."""
        if self._task is not None:
            total = next(task.total for task in self._bars.tasks if task.id == self._task) or 1
            self._bars.update(self._task, total=total, completed=total, detail=describe(self._last | {"eta_s": None}))


def describe(progress: dict[str, Any]) -> str:
    """Loss, speed and time left of a progress event, as far as it tells them."""
    parts = []
    if progress.get("loss") is not None:
        parts.append(f"loss {progress['loss']:.3f}")
    if progress.get("tokens_per_s"):
        parts.append(f"{progress['tokens_per_s']:,.0f} tokens/s")
    if progress.get("eta_s") is not None:
        minutes, seconds = divmod(round(progress["eta_s"]), 60)
        parts.append(f"{minutes}:{seconds:02d} left")
    return ", ".join(parts)


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
