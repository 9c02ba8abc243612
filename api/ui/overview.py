"""`/dashboard`: what is in production, what raters think of it, what runs now, and whether everything answers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import Request

from api.routes.versions import list_all_versions
from api.services import Services
from api.ui.access import Visit, page
from api.ui.charts import Interval, draw_bar, draw_days, draw_shares
from api.ui.frame import Loaded, card, empty, frame
from api.ui.live_run import LiveRun
from api.ui.markup import badge, facts, write_count, write_day, write_time
from api.ui.parts import button, draw, draw_markdown, link, tag
from api.vitals import Vital, check_vitals
from data.lifetime import spend_alpha
from data.proportions import wilson_interval
from data.vocabulary import KeyRole
from db.models import Promotion
from db.overview import (
    DayCount,
    VersionCount,
    count_consultations,
    count_ratings_by_day,
    count_ratings_by_version,
)
from db.promotions import find_latest_promotion

DAYS = 30
_DAY_S = 86_400
_LIFETIME_ALPHA = 0.10  # the chance that any promotion in the life of the hold-out was wrong
_KINDS = {
    "initial": "the base model",
    "gate": "passed the gate",
    "manual": "promoted by hand",
    "rollback": "rolled back",
}


@dataclass(frozen=True)
class Standing:
    """What is in production and what of the gate's budget is spent."""

    promotion: Promotion | None
    served: int | None
    awaiting: list[int]
    consultations: int


@page("/dashboard", access=KeyRole.ADMIN, title="Overview")
async def show_overview(visit: Visit, _: Request) -> None:
    """The overview."""
    services = visit.services
    with frame(visit, "/dashboard"):
        with tag("div", "page-head"), tag("div"):
            tag("h1", "", "Overview")
        with tag("div", "grid"):
            with card("In production", "third"):
                Loaded(lambda: _read_standing(services), _show_production)
            with card("Run", "third"):
                LiveRun(visit).draw()
            with card("Gate budget", "third"):
                Loaded(lambda: _read_standing(services), _show_budget)
            with card("Ratings", "wide", f"per day, last {DAYS} days, UTC"):
                Loaded(lambda: _read_days(services), _show_days)
            with card("Health", "third"):
                vitals = Loaded(lambda: check_vitals(services), _show_vitals)
                button("Check again", lambda _: vitals.refresh(), "small")
            with card("Share up by version", "", f"ratings of the last {DAYS} days, 95 % intervals"):
                Loaded(lambda: _read_versions(services), _show_versions)


def _read_standing(services: Services) -> Standing:
    awaiting = [item.number for item in list_all_versions(services, None, 200).data if item.awaits_approval]
    with services.database.reading() as session:
        promotion, consultations = find_latest_promotion(session), count_consultations(session)
    current = services.slot.current
    return Standing(promotion, current.version if current else None, awaiting, consultations)


def _show_production(standing: Standing) -> None:
    promotion = standing.promotion
    if promotion is None:
        empty("Nothing is in production yet; `ratchet up` registers the base model.")
        return
    tag("p", "figure", f"Version {promotion.version_number}")
    tag("p", "quiet", f"{_KINDS[promotion.kind].capitalize()}, since {write_time(promotion.created_at_s)}.")
    if standing.served != promotion.version_number:
        served = "no version" if standing.served is None else f"version {standing.served}"
        tag("p", "notice bad", f"This server still answers with {served}; see the log of the API if that lasts.")
    if standing.awaiting:
        numbers = ", ".join(str(number) for number in standing.awaiting)
        link(f"Waits for approval: version {numbers}", "/dashboard/versions")
    link("Versions and roll back", "/dashboard/versions")


def _show_budget(standing: Standing) -> None:
    asked = standing.consultations
    spent = sum(spend_alpha(number) for number in range(1, asked + 1))
    tag("p", "figure", f"{100 * (1 - spent / _LIFETIME_ALPHA):.0f} % left")
    draw(draw_bar(1 - spent / _LIFETIME_ALPHA, "Budget left"))
    draw(
        facts(
            (
                ("Hold-out asked", write_count(asked, "time")),
                ("Level of the next decision", f"p ≤ {spend_alpha(asked + 1):.4f}"),
            )
        )
    )
    tag("p", "quiet", "Each decision spends some of the 10 % chance that any promotion, ever, was wrong.")


def _read_days(services: Services) -> list[DayCount]:
    with services.database.reading() as session:
        return count_ratings_by_day(session, _find_start_s())


def _show_days(counts: Sequence[DayCount]) -> None:
    ups, downs = sum(item.ups for item in counts), sum(item.downs for item in counts)
    if not counts:
        empty("No ratings yet. They come from the chat, or from any client by POST /v1/feedback.")
        return
    by_day = {item.day: item for item in counts}
    last = int(time.time()) // _DAY_S
    none = DayCount(0, 0, 0)
    days = range(last - DAYS + 1, last + 1)
    draw(draw_days([(write_day(day), by_day.get(day, none).ups, by_day.get(day, none).downs) for day in days]))
    with tag("p", "legend"):
        tag("span", "up", f"{ups:,} up ({_write_share(ups, ups + downs)})")
        tag("span", "", f"{downs:,} down")


def _read_versions(services: Services) -> list[VersionCount]:
    with services.database.reading() as session:
        return count_ratings_by_version(session, _find_start_s())


def _show_versions(counts: Sequence[VersionCount]) -> None:
    if not counts:
        empty("No ratings yet, so nothing can be said of any version.")
        return
    draw(draw_shares([_build_interval(item) for item in counts]))


def _build_interval(item: VersionCount) -> Interval:
    total = item.ups + item.downs
    low, high = wilson_interval(item.ups, total) or (0.0, 1.0)
    label = "Crisis resources" if item.number is None else f"Version {item.number}"
    note = f"{_write_share(item.ups, total)} ({low:.0%} to {high:.0%}) of {write_count(total, 'rating')}"
    return Interval(label, item.ups / total, low, high, note, "better" if low > 0.5 else "worse" if high < 0.5 else "")


def _show_vitals(vitals: Sequence[Vital]) -> None:
    kinds = {"well": "good", "down": "bad", "unknown": "busy"}
    with tag("ul", "parts"):
        for item in vitals:
            with tag("li"):
                tag("span", "", item.name)
                draw(badge(item.state, kinds[item.state]), "", "span")
                draw_markdown(item.detail)


def _find_start_s() -> float:
    return (int(time.time()) // _DAY_S - DAYS + 1) * _DAY_S


def _write_share(part: int, whole: int) -> str:
    return f"{part / whole:.0%}" if whole else "–"
