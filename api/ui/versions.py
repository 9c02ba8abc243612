"""`/dashboard/versions`: the versions with why they stand where they stand; promote, approve, roll back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.routes.promotions import list_all_promotions, promote_version, roll_back
from api.routes.versions import list_all_versions
from api.schemas.promotion import Promotion, PromotionCreate, RollbackCreate
from api.schemas.version import Version
from api.services import Services
from api.ui.access import Visit, page
from api.ui.frame import Loaded, card, empty, frame
from api.ui.markup import badge, table, when, write_time
from api.ui.parts import ask, button, draw, link, tag, tell
from data.vocabulary import KeyRole
from db.evaluations import find_evaluation
from db.promotions import build_history

_VERSIONS = 50
_MOVES = 50
_REASONS = 3  # of a decision, in the list


@dataclass(frozen=True)
class Shelf:
    """All versions with the sentences of their decisions, and how production moved, newest first."""

    versions: Sequence[Version]
    decisions: dict[int, list[str]]
    promotions: Sequence[Promotion]
    before: int | None  # what a rollback goes back to


@page("/dashboard/versions", access=KeyRole.ADMIN, title="Versions")
async def show_versions(visit: Visit, _: Request) -> None:
    """The versions."""
    with frame(visit, "/dashboard/versions"):
        with tag("div", "page-head"), tag("div"):
            tag("h1", "", "Versions")
            tag("p", "", "What answers now, what waits, and every move of production with its reason.")
        Versions(visit).draw()


class Versions:
    """The shelf on a page."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit

    def draw(self) -> None:
        """The shelf, and again after each change."""
        self._place = Loaded(lambda: read_shelf(self._visit.services), self._show, "bare")

    def _show(self, shelf: Shelf) -> None:
        waiting = [version for version in shelf.versions if version.awaits_approval]
        if waiting:
            with card("Waits for approval", hint="passed the gate; production moves when you say so"):
                for version in waiting:
                    self._show_version(version, shelf)
        with card("Versions"):
            if not shelf.versions:
                empty("There are no versions yet; `ratchet up` registers the base model as version 0.")
            with tag("div"):
                for version in shelf.versions:
                    if not version.awaits_approval:
                        self._show_version(version, shelf)
        with card("Moves of production", hint=f"the last {_MOVES}"):
            self._show_moves(shelf)

    def _show_version(self, version: Version, shelf: Shelf) -> None:
        with tag("article", "version", aria_label=f"Version {version.number}"):
            with tag("div", "row"):
                with tag("div", "row"):
                    tag("h3", "", f"Version {version.number}")
                    if version.is_production:
                        draw(badge("in production", "good"), "", "span")
                    if version.awaits_approval:
                        draw(badge("waits", "busy"), "", "span")
                    tag("span", "quiet", f"{version.base_model}, {write_time(version.created_at_s)}")
                with tag("div", "row"):
                    self._draw_actions(version, shelf)
            self._show_why(version, shelf)

    def _draw_actions(self, version: Version, shelf: Shelf) -> None:
        if version.run_id:
            link("Report", f"/dashboard/runs/{version.run_id}", "button small")
        if version.is_production and shelf.before is not None:
            button(f"Roll back to version {shelf.before}", self._roll_back, "small harm")
        elif version.awaits_approval:
            button("Approve", lambda _: self._promote(version.number, "Approved."), "small strong")
        elif not version.is_production:
            button("Promote", lambda _: self._promote(version.number, ""), "small")

    def _show_why(self, version: Version, shelf: Shelf) -> None:
        moves = [move.reason for move in shelf.promotions if move.version_number == version.number]
        sentences = [*dict.fromkeys([*moves[:1], *shelf.decisions.get(version.number, [])])][: _REASONS + 1]
        if version.number == 0 and not sentences:
            sentences = ["The base model."]
        with tag("details"):
            tag("summary", "", "Why")
            with tag("ul", "lines"):
                for sentence in sentences or ["It was registered; no decision is recorded."]:
                    tag("li", "", sentence)

    def _show_moves(self, shelf: Shelf) -> None:
        if not shelf.promotions:
            empty("Production has not moved yet.")
            return
        rows = [
            (
                when(move.created_at_s),
                "–" if move.previous_version is None else f"version {move.previous_version}",
                f"version {move.version_number}",
                badge(move.kind, "bad" if move.kind == "rollback" else ""),
                move.reason,
                move.actor,
            )
            for move in shelf.promotions[:_MOVES]
        ]
        draw(table(("When", "From", "To", "How", "Why", "By"), rows))

    async def _promote(self, number: int, reason: str) -> None:
        detail = "New replies come from it within seconds; running ones end as they began."
        if not reason:
            detail = f"This goes past the gate, so it needs a reason. {detail}"
        given = await ask(f"Promote version {number}?", detail, "Promote", reason=reason)
        if given is None:
            return
        key = await self._visit.admit(KeyRole.ADMIN)
        body = PromotionCreate(reason=given)
        await run_in_threadpool(promote_version, number, body, key, self._visit.services)
        tell(f"Version {number} is in production.")
        await self._place.refresh()

    async def _roll_back(self, _: Any) -> None:
        detail = (
            "New replies come from the version before within seconds; nothing is lost, and it can be promoted again."
        )
        given = await ask("Roll production back?", detail, "Roll back", reason="Rolled back by an admin.")
        if given is None:
            return
        key = await self._visit.admit(KeyRole.ADMIN)
        body = RollbackCreate(reason=given)
        promotion = await run_in_threadpool(roll_back, key, self._visit.services, body)
        tell(f"Version {promotion.version_number} is in production again.")
        await self._place.refresh()


def read_shelf(services: Services) -> Shelf:
    """The shelf as it stands."""
    versions = list_all_versions(services, None, _VERSIONS).data
    promotions = list_all_promotions(services).data
    history = build_history(reversed(promotions))
    with services.database.reading() as session:
        decisions = {}
        for version in versions:
            evaluation = find_evaluation(session, version.run_id) if version.run_id else None
            if evaluation and evaluation.decision:
                decisions[version.number] = [reason["sentence"] for reason in evaluation.decision["reasons"]]
    return Shelf(versions, decisions, promotions, history[-2] if len(history) > 1 else None)
