"""One reply in the chat, with its tools: thumbs with reasons, scores, a correction, another try, a comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Response
from starlette.concurrency import run_in_threadpool

from api.routes.feedback import create_feedback, remove_feedback
from api.schemas.feedback import Feedback, FeedbackCreate, Scores
from api.ui.access import Visit
from api.ui.parts import (
    Fields,
    bind_sliders,
    button,
    check,
    draw_markdown,
    field,
    form,
    read_scores,
    read_text,
    sliders,
    tag,
    tell,
    text_area,
)
from api.ui.turns import Sibling
from data.vocabulary import KeyRole, Rating

REASONS = {
    Rating.UP: ("empathic", "helpful", "clear", "asks a good question"),
    Rating.DOWN: ("cold", "off topic", "too long", "too short", "repeats itself", "unsafe"),
}
BETTER, WORSE = "better than the other reply", "worse than the other reply"
_ENDS = {"length": "cut at the limit", "disconnect": "stopped"}


async def save_feedback(visit: Visit, sibling: Sibling, **changes: Any) -> Feedback:
    """Change what this person says of a reply; the rest stays as it was said before."""
    before = (
        sibling.given.model_dump(include={"rating", "reasons", "comment", "correction", "scores"})
        if (sibling.given)
        else {}
    )
    values = {**before, **changes, "completion_id": sibling.completion_id, "user": visit.session.user}
    body = FeedbackCreate.model_validate(values)
    key = await visit.admit(KeyRole.CLIENT)
    sibling.given = await run_in_threadpool(create_feedback, body, key, visit.services, Response())
    return sibling.given


async def prefer(visit: Visit, better: Sibling, worse: Sibling) -> None:
    """Say of two replies to the same question which one is better: from an up and a down a preference is learnt."""
    await save_feedback(visit, better, rating=Rating.UP, reasons=_add(better, BETTER, WORSE))
    await save_feedback(visit, worse, rating=Rating.DOWN, reasons=_add(worse, WORSE, BETTER))


class ReplyView:
    """A reply on the page. `extra` draws what else belongs among the tools."""

    def __init__(self, visit: Visit, sibling: Sibling, extra: Callable[[], None] = lambda: None) -> None:
        self._visit = visit
        self._sibling = sibling
        with tag("article", "reply crisis" if sibling.is_crisis else "reply", aria_label="Reply"):
            with tag("p", "by"):
                self._write_origin()
            draw_markdown(sibling.text or "(no words came)")
            with tag("div", "tools"):
                self._up = button("Good reply", self._rate_up, icon_name="up")
                self._down = button("Bad reply", self._rate_down, icon_name="down")
                self._edit = button("Write what it should have said", self._correct, icon_name="edit")
                extra()
            self._panel = tag("div", "panel gone")
        self._mark()

    def _write_origin(self) -> None:
        sibling = self._sibling
        if sibling.is_crisis:
            tag("span", "badge busy", "Help from a person")
        elif sibling.version_number is not None:
            tag("span", "", f"Version {sibling.version_number}")
        if sibling.finish_reason in _ENDS:
            tag("span", "", f"· {_ENDS[sibling.finish_reason]}")

    def _mark(self) -> None:
        """Let the thumbs show what was said."""
        rating = self._sibling.given.rating if self._sibling.given else None
        for element, meaning in ((self._up, Rating.UP), (self._down, Rating.DOWN)):
            element.props["aria-pressed"] = "true" if rating == meaning else "false"
        corrected = self._sibling.given is not None and self._sibling.given.correction is not None
        self._edit.props["aria-pressed"] = "true" if corrected else "false"

    async def _rate_up(self, _: Any) -> None:
        await self._rate(Rating.UP)

    async def _rate_down(self, _: Any) -> None:
        await self._rate(Rating.DOWN)

    async def _rate(self, rating: Rating) -> None:
        """Store the thumb at once and ask why; the same thumb again takes all back that was said of the reply."""
        given = self._sibling.given
        if given and given.rating == rating:
            await self._take_back()
            return
        kept = [reason for reason in given.reasons if reason in (BETTER, WORSE)] if given else []
        await save_feedback(self._visit, self._sibling, rating=rating, reasons=kept)
        self._mark()
        self._open(lambda: self._draw_reasons(rating))

    async def _take_back(self) -> None:
        key = await self._visit.admit(KeyRole.CLIENT)
        arguments = self._sibling.completion_id, key, self._visit.services, self._visit.session.user
        await run_in_threadpool(remove_feedback, *arguments)
        self._sibling.given = None
        self._mark()
        self._close()
        tell("Taken back.")

    def _draw_reasons(self, rating: Rating) -> None:
        given = self._sibling.given
        assert given is not None

        async def save(fields: Fields) -> None:
            await save_feedback(
                self._visit,
                self._sibling,
                reasons=fields.get("reasons", []),
                comment=read_text(fields, "comment"),
                scores=Scores(**read_scores(fields)),
            )
            tell("Thank you. Your rating is stored.")
            self._close()  # last, for the button that was pressed goes with it

        with form(save) as element:
            bind_sliders(element)
            with tag("fieldset"):
                tag("legend", "", "What was good?" if rating is Rating.UP else "What was wrong?")
                with tag("div", "chips"):
                    for reason in dict.fromkeys((*REASONS[rating], *given.reasons)):
                        check("checkbox", "reasons", reason, reason, checked=reason in given.reasons)
            with tag("fieldset"):
                tag("legend", "", "Scores, from 1 (worst) to 5 (best)")
                sliders(given.scores)
            with field("Comment", "optional"):
                text_area("comment", given.comment or "", rows=2, maxlength=10_000)
            self._draw_actions("Save")

    async def _correct(self, _: Any) -> None:
        self._open(self._draw_correction)

    def _draw_correction(self) -> None:
        given = self._sibling.given

        async def save(fields: Fields) -> None:
            rating = given.rating if given else Rating.DOWN
            await save_feedback(self._visit, self._sibling, rating=rating, correction=read_text(fields, "correction"))
            self._mark()
            tell("Thank you. The next run may learn from your words.")
            self._close()

        text = given.correction if given and given.correction else self._sibling.text
        with form(save):
            with field("What it should have said", "leave it empty to take a correction back"):
                text_area("correction", text, rows=6, maxlength=50_000)
            self._draw_actions("Save correction")

    def _draw_actions(self, label: str) -> None:
        async def close(_: Any) -> None:
            self._close()

        with tag("div", "actions"):
            button("Close", close)
            tag("button", "button strong", label, type="submit")

    def _open(self, draw: Callable[[], None]) -> None:
        self._panel.clear()
        with self._panel:
            draw()
        self._panel.classes(remove="gone")

    def _close(self) -> None:
        self._panel.clear()
        self._panel.classes("gone")


def _add(sibling: Sibling, reason: str, opposite: str) -> list[str]:
    said = sibling.given.reasons if sibling.given else []
    return [*(item for item in said if item not in (reason, opposite)), reason]
