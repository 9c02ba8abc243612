"""`/dashboard/runs`: start a run, the schedule, and the timeline of all runs with their verdicts."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from fastapi import BackgroundTasks, Request
from markupsafe import Markup
from starlette.concurrency import run_in_threadpool

from api.routes.runs import list_all_runs, start_run
from api.routes.schedule import read_schedule, replace_schedule
from api.schemas.fields import Page
from api.schemas.run import Run, RunCreate
from api.schemas.schedule import Schedule, ScheduleUpdate
from api.ui.access import Visit, page
from api.ui.frame import Loaded, card, empty, frame
from api.ui.live_run import KINDS, LiveRun
from api.ui.markup import badge, table, write_duration, write_time
from api.ui.parts import Fields, check, draw, field, form, number, read_text, tag, tell, text_area
from data.errors import InvalidRecipe
from data.recipe import Recipe
from data.vocabulary import KeyRole, ScheduleMode

_RUNS = 50
_HOUR_S = 3_600
_MODES = ((ScheduleMode.AUTO, "Promote at once"), (ScheduleMode.APPROVE, "Wait for an admin"))
_TRIGGERS = {
    "admin": "asked for",
    "schedule": "by the schedule",
    "command_line": "by command",
    "erasure": "after an erasure",
    "exclusion": "after a rater was excluded",
}


@page("/dashboard/runs", access=KeyRole.ADMIN, title="Runs")
async def show_runs(visit: Visit, _: Request) -> None:
    """The runs."""
    with frame(visit, "/dashboard/runs"):
        with tag("div", "page-head"), tag("div"):
            tag("h1", "", "Runs")
            tag("p", "", "A run trains a candidate on what was rated, measures it against production, and decides.")
        with tag("div", "grid"):
            with card("Now", "half"):
                LiveRun(visit, lambda: timeline.refresh()).draw()
            with card("Schedule", "half"):
                _draw_schedule(visit)
            with card("Timeline"):
                timeline = Loaded(lambda: list_all_runs(visit.services, None, _RUNS), _show_timeline)
            with card("Start a run with another recipe"):
                _draw_recipe(visit, timeline)


def _show_timeline(runs: Page[Run]) -> None:
    if not runs.data:
        empty("No runs yet.")
        return
    draw(Markup('<ol class="timeline">{}</ol>').format(Markup("").join(_build_entry(run) for run in runs.data)))
    if runs.next_cursor:
        tag("p", "quiet", f"Older runs are at GET /v1/admin/runs; these are the last {_RUNS}.")


def _build_entry(run: Run) -> Markup:
    took = ""
    if run.started_at_s and run.finished_at_s:
        took = f", took {write_duration(run.finished_at_s - run.started_at_s)}"
    verdict = run.reason or ("under way" if run.status.is_active else "no reason was given")
    version = Markup("")
    if run.version_number is not None:
        version = Markup(' <span class="badge">version {}</span>').format(run.version_number)
    return Markup(
        '<li><span class="when">{}</span><span>{}</span><span class="why"><a href="/dashboard/runs/{}">Report</a>{} '
        '{} <span class="quiet">({}{})</span></span></li>'
    ).format(
        write_time(run.created_at_s).removesuffix(" UTC"),
        badge(run.status.value, KINDS.get(run.status, "busy")),
        run.id,
        version,
        verdict,
        _TRIGGERS.get(run.trigger, run.trigger),
        took,
    )


def _draw_schedule(visit: Visit) -> None:
    schedule = Loaded(lambda: read_schedule(visit.services), lambda found: _show_schedule(found, save))

    async def save(fields: Fields) -> None:
        body = ScheduleUpdate.model_validate(
            {
                "interval_s": round(float(read_text(fields, "hours") or 0) * _HOUR_S),
                "min_ratings": int(read_text(fields, "min_ratings") or 0),
                "mode": fields["mode"][0],
            }
        )
        key = await visit.admit(KeyRole.ADMIN)
        await run_in_threadpool(replace_schedule, body, key, visit.services)
        tell("The schedule is stored. The next tick goes by it.")
        await schedule.refresh()


def _show_schedule(schedule: Schedule, save: Any) -> None:
    with form(save):
        with tag("div", "row"):
            with field("Hours between runs", "0: only when asked"):
                number("hours", f"{schedule.interval_s / _HOUR_S:g}", min="0", max="8784", step="any", required=True)
            with field("New ratings needed", "at least 1"):
                number("min_ratings", schedule.min_ratings, min="1", max=str(2**31 - 1), step="1", required=True)
        with tag("fieldset"):
            tag("legend", "", "A version that passes the gate")
            with tag("div", "chips"):
                for mode, label in _MODES:
                    check("radio", "mode", mode.value, label, checked=schedule.mode is mode)
        with tag("div", "actions"):
            changed = "not set yet" if schedule.updated_at_s is None else f"set {write_time(schedule.updated_at_s)}"
            tag("span", "quiet", changed.capitalize())
            tag("button", "button", "Store the schedule", type="submit")


def _draw_recipe(visit: Visit, timeline: Loaded) -> None:
    async def begin(fields: Fields) -> None:
        try:
            recipe = json.loads(read_text(fields, "recipe") or "{}")
        except ValueError as error:
            raise InvalidRecipe(f"The recipe is not JSON ({error}); write it like the example.") from error
        if not isinstance(recipe, dict):
            raise InvalidRecipe("The recipe must be a JSON object, such as the example.")
        await visit.admit(KeyRole.ADMIN)
        background = BackgroundTasks()
        await run_in_threadpool(start_run, visit.services, background, RunCreate(recipe=recipe))
        await background()
        tell("A run is queued.")
        await timeline.refresh()

    with form(begin):
        with field("Recipe", "fields as JSON; those left out keep their defaults"):
            text_area("recipe", "", rows=3, placeholder='{"trainable": "last:8", "sft_epochs": 1}', spellcheck="false")
        with tag("details"):
            tag("summary", "", "Fields and their defaults")
            defaults = [(item.name, str(getattr(Recipe(), item.name))) for item in dataclasses.fields(Recipe)]
            draw(table(("Field", "Default"), defaults))
        with tag("div", "actions"):
            tag("button", "button strong", "Start with this recipe", type="submit")
