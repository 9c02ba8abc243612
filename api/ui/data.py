"""`/dashboard/data`: importing examples, and who rates how much."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from fastapi import Request
from nicegui.element import Element

from api.services import Services
from api.ui.access import Visit, page
from api.ui.frame import Loaded, card, draw_waiting, frame
from api.ui.markup import facts, table, write_count
from api.ui.parts import draw, guard, tag
from api.ui.raters import RATERS, RaterTable
from data.curation import CAP_FREE_RATERS, CAP_ROWS, CAP_SHARE
from data.vocabulary import KeyRole
from db.examples import count_examples
from db.overview import count_feedback, count_raters

_SEND = """async (event) => {
    const input = event.target, file = input.files[0];
    if (!file) return;
    emit({name: file.name});
    const form = new FormData();
    form.append('file', file);
    let answer;
    try {
        const response = await fetch('/dashboard/import', {method: 'POST', body: form});
        answer = {name: file.name, status: response.status, body: await response.json()};
    } catch (error) {
        answer = {name: file.name, status: 0, body: {detail: 'The server cannot be reached; try again.'}};
    }
    input.value = '';
    emit(answer);
}"""
_OVER = "(event) => event.target.parentElement.classList.toggle('over', event.type === 'dragenter')"


@dataclass(frozen=True)
class Pool:
    """What there is to learn from."""

    examples: int
    ratings: int
    raters: int

    @property
    def cap(self) -> int | None:
        """Most rows of one rater in a run; None while there are too few raters for a cap."""
        if self.raters <= CAP_FREE_RATERS:
            return None
        return min(CAP_ROWS, max(1, int(CAP_SHARE * (self.examples + self.ratings))))


@page("/dashboard/data", access=KeyRole.ADMIN, title="Data")
async def show_data(visit: Visit, _: Request) -> None:
    """Data in, and raters."""
    with frame(visit, "/dashboard/data"):
        with tag("div", "page-head"), tag("div"):
            tag("h1", "", "Data")
            tag("p", "", "What runs learn from: examples that you import, and what raters say.")
        with tag("div", "grid"):
            with card("Import examples", "wide"):
                importing = _Import()
                importing.draw()
            with card("The pool", "third"):
                pool = Loaded(lambda: _read_pool(visit.services), _show_pool)
                importing.on_done = pool.refresh
            with card("Raters", hint=f"the {RATERS} with the most ratings"):
                RaterTable(visit, lambda services: _read_pool(services).cap).draw()


class _Import:
    """A place to drop a file, and what became of it; `on_done` is awaited after an import."""

    on_done: Callable[[], Awaitable[None]]

    def draw(self) -> None:
        """The place, and below it the outcome."""
        with tag("label", "drop"):
            tag("strong", "", "Drop a file here, or choose one")
            tag(
                "span",
                "quiet",
                "CSV or JSON Lines, plain or gzipped, up to 50 MB, with Context and Response and maybe rating",
            )
            box = tag("input", "", type="file", accept=".csv,.jsonl,.gz", aria_label="File to import")
            box.on("change", guard(self._show), js_handler=_SEND)
            for kind in ("dragenter", "dragleave", "drop"):
                box.on(kind, js_handler=_OVER)
        self._result: Element = tag("div", "place", aria_live="polite")

    async def _show(self, answer: dict[str, Any]) -> None:
        self._result.clear()
        with self._result:
            if "status" not in answer:
                tag("p", "quiet", f"Reading {answer['name']}…")
                draw_waiting()
            elif answer["status"] == 200:
                self._show_import(answer["name"], answer["body"])
            else:
                _show_refusal(answer["name"], answer["body"])
        if answer.get("status") == 200:
            await self.on_done()

    def _show_import(self, name: str, body: dict[str, Any]) -> None:
        tag(
            "p",
            "notice",
            f"{name}: {write_count(body['imported'], 'example was', 'examples were')} imported.",
            role="status",
        )
        lines = [("Rows read", f"{body['rows_read']:,} rows"), ("Already there", f"{body['already_there']:,} rows")]
        lines += [(f"Left out, {reason}", f"{count:,} rows") for reason, count in body["dropped"].items()]
        draw(facts(lines))


def _show_refusal(name: str, body: dict[str, Any]) -> None:
    tag("p", "notice bad", f"{name} was not imported. {body.get('detail', '')}", role="alert")
    problems = body.get("problems") or []
    if problems:
        draw(table(("Where", "What is wrong"), [(str(item["where"]), str(item["reason"])) for item in problems]))
        tag("p", "quiet", "Mend these lines and drop the file again; nothing of it was imported.")


def _read_pool(services: Services) -> Pool:
    with services.database.reading() as session:
        return Pool(count_examples(session), count_feedback(session), count_raters(session))


def _show_pool(pool: Pool) -> None:
    draw(
        facts(
            (
                ("Examples", f"{pool.examples:,} rows"),
                ("Ratings", f"{pool.ratings:,} rows"),
                ("Raters", write_count(pool.raters, "person", "people")),
            )
        )
    )
