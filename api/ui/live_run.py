"""The run that is active now: stage, bar, loss curve, time left; and the button that starts one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import BackgroundTasks
from starlette.concurrency import run_in_threadpool

from api.routes.run_events import POLL_S
from api.routes.runs import cancel_run, list_all_runs, start_run
from api.schemas.run import Run
from api.services import Services
from api.ui.access import EXPECTED, Visit
from api.ui.charts import draw_bar, draw_lines
from api.ui.frame import start_when_connected
from api.ui.markup import badge, write_duration, write_time
from api.ui.parts import ask, button, draw, explain, link, tag, tell
from data.vocabulary import KeyRole, RunStatus

KINDS = {
    RunStatus.SUCCEEDED: "good",
    RunStatus.REFUSED: "bad",
    RunStatus.FAILED: "bad",
    RunStatus.SKIPPED: "",
    RunStatus.CANCELLED: "",
}
_IDLE_POLL_S = 3.0


@dataclass(frozen=True)
class Snapshot:
    """The newest run with its losses, as the page last saw them."""

    run: Run | None
    losses: tuple[tuple[str, tuple[tuple[float, float], ...]], ...]


class LiveRun:
    """A place that follows the newest run for as long as it is on the page; `on_end` is called when a run ends."""

    def __init__(self, visit: Visit, on_end: Callable[[], Awaitable[None]] | None = None) -> None:
        self._visit = visit
        self._on_end = on_end
        self._seen: Snapshot | None = None
        self._changed = asyncio.Event()

    def draw(self) -> None:
        """What is known of the run, kept up to date."""
        self._place = tag("div", "place", aria_live="polite", aria_busy="true")
        start_when_connected(self._follow)

    async def _follow(self) -> None:
        while not self._place.is_deleted:
            self._changed.clear()
            try:
                seen = await run_in_threadpool(read_newest, self._visit.services)
            except EXPECTED as error:
                self._show_failure(explain(error))
                seen = None
            was_active = _is_active(self._seen)
            if seen is not None and seen != self._seen and not self._place.is_deleted:
                self._seen = seen
                self._show(seen)
            is_active = _is_active(seen)
            if was_active and not is_active and seen is not None and self._on_end is not None:
                await self._on_end()
            try:
                await asyncio.wait_for(self._changed.wait(), POLL_S if is_active else _IDLE_POLL_S)
            except TimeoutError:
                continue

    def _show_failure(self, sentence: str) -> None:
        self._seen = None
        if not self._place.is_deleted:
            self._place.clear()
            with self._place:
                tag("p", "notice bad", f"{sentence} It is asked again every few seconds.", role="alert")

    def _show(self, seen: Snapshot) -> None:
        self._place.clear()
        self._place.props["aria-busy"] = "false"
        with self._place:
            if seen.run is not None and _is_active(seen):
                self._show_active(seen.run, seen)
            else:
                self._show_idle(seen.run)

    def _show_active(self, run: Run, seen: Snapshot) -> None:
        progress = run.progress or {}
        step, of = progress.get("step") or 0, progress.get("of") or 0
        with tag("p", "figure", f"{run.status.value.capitalize()}"):
            if of:
                tag("small", "", f"step {step:,} of {of:,}")
        draw(draw_bar(step / of if of else 0.0, f"{run.status.value}, done"))
        eta_s, loss = progress.get("eta_s"), progress.get("loss")
        said = [f"attempt {run.attempt}"] if run.attempt else ["waits for a worker"]
        if eta_s is not None:
            said.append(f"about {write_duration(eta_s)} left in this stage")
        if loss is not None:
            said.append(f"loss {loss:.3f} nats")
        tag("p", "quiet", ", ".join(said).capitalize() + ".")
        if any(line for _, line in seen.losses):
            draw(draw_lines(seen.losses, "step", "training loss in nats"))
        with tag("div", "row"):
            link("Details", f"/dashboard/runs/{run.id}", "button small")
            if run.cancel_requested:
                tag("span", "quiet", "Will be cancelled when its worker next looks.")
            else:
                button("Cancel", self._cancel, "small harm")

    def _show_idle(self, run: Run | None) -> None:
        if run is None:
            tag("p", "empty", "No run yet. One starts when you say so, or by the schedule.")
        else:
            with tag("p", "row"):
                draw(badge(run.status.value, KINDS.get(run.status, "busy")), "", "span")
                tag("span", "quiet", f"the last run, {write_time(run.finished_at_s)}")
            tag("p", "", run.reason or "No reason was given.")
        with tag("div", "row"):
            button("Start a run", self._start, "small strong")
            if run is not None:
                link("Its report", f"/dashboard/runs/{run.id}", "button small")

    async def _start(self, _: Any) -> None:
        await start(self._visit)
        self._changed.set()
        tell("A run is queued.")

    async def _cancel(self, _: Any) -> None:
        assert self._seen is not None
        assert self._seen.run is not None
        detail = "What it has made so far is thrown away. The ratings stay, and another run can be started."
        if await ask("Cancel this run?", detail, "Cancel the run"):
            await self._visit.admit(KeyRole.ADMIN)
            await run_in_threadpool(cancel_run, self._seen.run.id, self._visit.services)
            self._changed.set()


def _is_active(seen: Snapshot | None) -> bool:
    return seen is not None and seen.run is not None and seen.run.status.is_active


async def start(visit: Visit) -> Run:
    """Queue a run with the usual recipe, as `POST /v1/admin/runs` does."""
    await visit.admit(KeyRole.ADMIN)
    background = BackgroundTasks()
    run = await run_in_threadpool(start_run, visit.services, background)
    await background()
    return run


def read_newest(services: Services) -> Snapshot:
    """The newest run with its losses so far."""
    runs = list_all_runs(services, None, 1).data
    if not runs:
        return Snapshot(None, ())
    run = runs[0]
    return Snapshot(run, read_losses(find_folder(services, run)) if run.status.is_active else ())


def find_folder(services: Services, run: Run) -> Path:
    """The folder of the run's newest attempt; it may be on another machine, and then it is not there."""
    return services.settings.runs / run.id / f"attempt-{run.attempt}"


def read_losses(folder: Path) -> tuple[tuple[str, tuple[tuple[float, float], ...]], ...]:
    """Training losses by phase, as (step, loss in nats); the second phase goes on where the first ended."""
    try:
        lines = (folder / "metrics.jsonl").read_text().splitlines()
    except OSError:
        return ()
    phases: dict[str, list[tuple[float, float]]] = {}
    for record in map(json.loads, filter(_is_whole, lines)):
        if "loss" in record:
            phases.setdefault(record["phase"], []).append((float(record["step"]), float(record["loss"])))
    offset, series = 0.0, []
    for phase, points in phases.items():
        series.append((phase, tuple((offset + step, loss) for step, loss in points)))
        offset += points[-1][0]
    return tuple(series)


def _is_whole(line: str) -> bool:
    """The last line may still be on its way to the file."""
    return line.endswith("}")
