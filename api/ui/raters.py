"""The rater table of the dashboard: weights, the cap, and leaving a rater out after a question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool

from api.routes.raters import admit, exclude, list_all_raters
from api.schemas.rater import Rater, RaterExclude
from api.services import Services
from api.ui.access import Visit
from api.ui.frame import Loaded, empty
from api.ui.markup import badge, when, write_count
from api.ui.parts import ask, button, draw, tag, tell
from data.curation import CAP_FREE_RATERS
from data.vocabulary import KeyRole

RATERS = 100
ReadCap = Callable[[Services], "int | None"]
_HEADS = (
    ("Rater", ""),
    ("Kind", ""),
    ("Ratings", "number"),
    ("Up", "number"),
    ("Weight", "number"),
    ("Last", ""),
    ("State", ""),
    ("", ""),
)


@dataclass(frozen=True)
class RaterList:
    """The raters, and the most rows of one in a run; None while there are too few raters for a cap."""

    raters: Sequence[Rater]
    cap: int | None


class RaterTable:
    """The table on a page; `read_cap` says what `RaterList.cap` is."""

    def __init__(self, visit: Visit, read_cap: ReadCap) -> None:
        self._visit = visit
        self._read_cap = read_cap

    def draw(self) -> None:
        """The table, and again after each change."""
        self._place = Loaded(self._read, self._show)

    def _read(self) -> RaterList:
        services = self._visit.services
        return RaterList(list_all_raters(services, RATERS).data, self._read_cap(services))

    def _show(self, found: RaterList) -> None:
        if not found.raters:
            empty("Nobody has rated yet.")
            return
        if found.cap is None:
            tag("p", "quiet", f"No cap yet: it begins with more than {CAP_FREE_RATERS} raters.")
        else:
            tag("p", "quiet", f"Of each rater who is no expert a run takes {write_count(found.cap, 'row')} at most.")
        tag(
            "p",
            "quiet",
            "A weight below 1 says that a rater agrees less with experts and others than raters in common; "
            "who is quarantined is left out of runs.",
        )
        with tag("div", "scroll"), tag("table"):
            with tag("thead"), tag("tr"):
                for title, classes in _HEADS:
                    tag("th", classes, title, scope="col")
            with tag("tbody"):
                for rater in found.raters:
                    self._show_rater(rater, found.cap)

    def _show_rater(self, rater: Rater, cap: int | None) -> None:
        total = rater.ups + rater.downs
        with tag("tr"):
            tag("td", "", rater.rater)
            tag("td", "", rater.kind.replace("_", " "))
            tag("td", "number", write_count(total, "rating"))
            tag("td", "number", f"{rater.ups / total:.0%}")
            tag("td", "number", "–" if rater.weight is None else f"{rater.weight:.2f}")
            with tag("td"):
                draw(when(rater.last_at_s), "", "span")
            with tag("td"):
                _show_state(rater, total, cap)
            with tag("td"):
                if rater.exclusion_id:
                    button("Admit again", lambda _: self._admit(rater.rater), "small")
                else:
                    button("Exclude", lambda _: self._exclude(rater.rater), "small harm")

    async def _exclude(self, rater: str) -> None:
        detail = (
            "No later run learns from this rater. Versions that did are marked, and a run without the rows is queued. "
            "Nothing is deleted, and the rater can be admitted again."
        )
        given = await ask(f"Exclude {rater}?", detail, "Exclude", reason="")
        if given is None:
            return
        key = await self._visit.admit(KeyRole.ADMIN)
        receipt = await run_in_threadpool(exclude, rater, RaterExclude(reason=given), key, self._visit.services)
        follows = receipt.retrain_run_id or receipt.retrain_pending
        tell(f"{rater} is excluded." + (" A run without the rows follows." if follows else ""))
        await self._place.refresh()

    async def _admit(self, rater: str) -> None:
        if await ask(f"Admit {rater} again?", "The next run has the rows of this rater again.", "Admit") is None:
            return
        key = await self._visit.admit(KeyRole.ADMIN)
        await run_in_threadpool(admit, rater, key, self._visit.services)
        tell(f"{rater} is admitted again.")
        await self._place.refresh()


def _show_state(rater: Rater, total: int, cap: int | None) -> None:
    if rater.exclusion_id:
        draw(badge("excluded", "bad"), "", "span")
    elif rater.is_quarantined:
        draw(badge("quarantined", "bad"), "", "span")
    elif cap is not None and rater.kind != "reviewer" and total > cap:
        draw(badge(f"{total - cap:,} over the cap", "busy"), "", "span")
    else:
        tag("span", "", "–")
