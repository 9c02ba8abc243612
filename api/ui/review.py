"""`/review`: the expert's queue, one reply at a time, with shortcuts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from nicegui import ui
from nicegui.events import KeyEventArguments
from starlette.concurrency import run_in_threadpool

from api.routes.reviews import MAX_SKIPPED, create_review, read_agreement, read_next_review
from api.schemas.feedback import Scores
from api.schemas.review import ReviewAgreement, ReviewCreate, ReviewItem
from api.ui.access import Visit, page
from api.ui.frame import Loaded, card, empty, frame
from api.ui.markup import facts, write_count, write_time
from api.ui.parts import (
    Fields,
    bind_sliders,
    button,
    check,
    draw,
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
from data.vocabulary import KeyRole, ReviewVerdict
from db.reviews import count_reviews

_WHY = {
    "flagged": "Flagged: a crisis, rated down, or scored unsafe.",
    "disagreement": "Raters disagree: it was rated up and down.",
    "random": "Picked at random, so that the ordinary replies are looked at too.",
}
_VERDICTS = (
    (ReviewVerdict.GOOD, "Good", "1"),
    (ReviewVerdict.BAD, "Bad", "2"),
    (ReviewVerdict.HARMFUL, "Harmful", "3"),
)
_KEYS = {key: verdict for verdict, _, key in _VERDICTS}
_PICK = "document.querySelector('input[name=verdict][value={}]')?.click()"
_SKIP = "document.getElementById('skip')?.click()"
_SAVE_KEYS = """(event) => {
    if (event.key === 'Enter' && (event.ctrlKey || event.metaKey)) {
        event.preventDefault();
        document.getElementById('judgement')?.requestSubmit();
    }
}"""


@dataclass(frozen=True)
class Progress:
    """How far the reviewer and all reviewers are."""

    done: int
    agreement: ReviewAgreement


@page("/review", access=KeyRole.REVIEWER, title="Review")
async def show_review(visit: Visit, _: Request) -> None:
    """The queue."""
    with frame(visit, "/review"):
        Queue(visit).draw()


class Queue:
    """The item on the page, and the ones that were skipped since it was opened."""

    def __init__(self, visit: Visit) -> None:
        self._visit = visit
        self._skipped: list[str] = []

    def draw(self) -> None:
        """The head, the item, and the progress."""
        with tag("div", "page-head"), tag("div"):
            tag("h1", "", "Review")
            tag(
                "p",
                "",
                "Your verdict counts for more than a thumb, and your rewrite is what the model should have said.",
            )
        self._item = Loaded(self._read_item, self._show_item, "bare")
        with card("So far"):
            self._progress = Loaded(self._read_progress, self._show_progress)
        ui.keyboard(self._press, ignore=["textarea", "select"], repeating=False)

    def _read_item(self) -> ReviewItem | None:
        key = self._visit.admit_now(KeyRole.REVIEWER)
        item = read_next_review(key, self._visit.services, tuple(self._skipped[-MAX_SKIPPED:]))
        return item if isinstance(item, ReviewItem) else None

    def _read_progress(self) -> Progress:
        with self._visit.services.database.reading() as session:
            done = count_reviews(session, self._visit.session.key_id)
        return Progress(done, read_agreement(self._visit.services))

    def _show_progress(self, progress: Progress) -> None:
        shared = progress.agreement
        alpha = (
            "not yet known" if shared.alpha is None else f"{shared.alpha:.2f} of 1 (Krippendorff's alpha; 0 is chance)"
        )
        draw(
            facts(
                (
                    ("Reviewed by you", write_count(progress.done, "reply", "replies")),
                    ("Reviewed by several experts", write_count(shared.completions, "reply", "replies")),
                    ("Agreement of the experts", alpha),
                )
            )
        )

    def _show_item(self, item: ReviewItem | None) -> None:
        if item is None:
            self._show_end()
            return
        with tag("div", "review"):
            with card("Conversation", hint=_WHY[item.picked_because]), tag("div", "thread"):
                for turn in item.messages:
                    tag("p", f"said {'user' if turn.role == 'user' else ''}", turn.content)
                with tag("div", "said judged", aria_label="The reply to review", role="group"):
                    draw_markdown(item.reply or "(no words came)")
                version = "no version" if item.version_number is None else f"version {item.version_number}"
                tag("p", "quiet", f"By {version}, {write_time(item.created_at_s)}")
            with card("Your verdict"):
                self._draw_form(item)

    def _show_end(self) -> None:
        with card("Nothing is left for you"):
            empty("Every reply has enough reviews, or you have done or skipped it. Come back after more conversations.")
            if self._skipped:
                button(
                    f"Show the {write_count(len(self._skipped), 'skipped reply', 'skipped replies')} again",
                    self._unskip,
                )

    def _draw_form(self, item: ReviewItem) -> None:
        async def save(fields: Fields) -> None:
            await self._save(item, fields)

        async def skip(_: Any) -> None:
            self._skipped.append(item.completion_id)
            await self._item.refresh()

        with form(save, id="judgement") as element:
            bind_sliders(element)
            element.on("keydown", js_handler=_SAVE_KEYS)
            with tag("fieldset"):
                tag("legend", "", "Verdict")
                with tag("div", "chips"):
                    for verdict, label, key in _VERDICTS:
                        check("radio", "verdict", verdict.value, f"{label} · {key}")
            with tag("fieldset"):
                tag("legend", "", "Scores, from 1 (worst) to 5 (best)")
                sliders({})
            with field("Rewrite", "what it should have said; optional"):
                text_area("rewrite", "", rows=5, maxlength=50_000)
            with field("Comment", "optional"):
                text_area("comment", "", rows=2, maxlength=10_000)
            with tag("div", "actions"):
                button("Skip", skip, id="skip")
                tag("button", "button strong", "Save and next", type="submit")
            with tag("p", "quiet keys"):
                for key, meaning in (
                    ("1", "good"),
                    ("2", "bad"),
                    ("3", "harmful"),
                    ("S", "skip"),
                    ("Ctrl+Enter", "save"),
                ):
                    tag("kbd", "", key)
                    tag("span", "", f" {meaning}  ")

    async def _save(self, item: ReviewItem, fields: Fields) -> None:
        if "verdict" not in fields:
            ui.notify("Choose a verdict first: good, bad or harmful.", classes="toast bad", position="bottom")
            return
        body = ReviewCreate(
            verdict=ReviewVerdict(fields["verdict"][0]),
            scores=Scores(**read_scores(fields)),
            rewrite=read_text(fields, "rewrite"),
            comment=read_text(fields, "comment"),
        )
        key = await self._visit.admit(KeyRole.REVIEWER)
        await run_in_threadpool(create_review, item.completion_id, body, key, self._visit.services, Response())
        tell("Stored.")
        await self._progress.refresh()
        await self._item.refresh()  # last, for the button that was pressed goes with it

    async def _unskip(self, _: Any) -> None:
        self._skipped.clear()
        await self._item.refresh()

    def _press(self, event: KeyEventArguments) -> None:
        if not event.action.keydown or event.modifiers.ctrl or event.modifiers.alt or event.modifiers.meta:
            return
        name = event.key.name.lower()
        if name in _KEYS:
            ui.run_javascript(_PICK.format(_KEYS[name].value))
        elif name == "s":
            ui.run_javascript(_SKIP)
