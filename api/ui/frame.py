"""What all pages share: the head with the ways to the other pages, and how loading, emptiness and errors look."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from nicegui import background_tasks, ui
from nicegui.element import Element
from starlette.concurrency import run_in_threadpool

from api.ui.access import EXPECTED, Visit
from api.ui.parts import button, draw_markdown, explain, link, tag
from data.vocabulary import KeyRole

Result = TypeVar("Result")

_PAGES = (("Chat", "/", KeyRole.CLIENT), ("Review", "/review", KeyRole.REVIEWER))
_DASHBOARD = (
    ("Overview", "/dashboard"),
    ("Runs", "/dashboard/runs"),
    ("Versions", "/dashboard/versions"),
    ("Data", "/dashboard/data"),
)


@contextmanager
def frame(visit: Visit, path: str, classes: str = "") -> Iterator[Element]:
    """The page around its content; `path` is that of the page that is shown."""
    ui.query(".nicegui-content").classes("shell")
    with ui.context.client.layout, tag("header", "top") as head:
        head.move(target_index=0)
        tag("a", "skip", "Skip to the content", href="#content")
        with tag("a", "brand", href="/" if not visit.is_admin else "/dashboard"):
            tag("span", "mark", aria_hidden="true")
            tag("span", "", "Ratchet")
        with tag("nav", "ways", aria_label="Pages"):
            for name, target, role in _PAGES:
                if visit.is_admin or visit.role is role:
                    _way(name, target, path == target)
            if visit.is_admin:
                for name, target in _DASHBOARD:
                    _way(name, target, path == target)
        _show_who(visit)
    with tag("div", f"content {classes}", id="content", tabindex="-1") as content:
        yield content


def _way(name: str, target: str, is_here: bool) -> None:
    link(name, target, aria_current="page" if is_here else None)


def _show_who(visit: Visit) -> None:
    with tag("div", "who"):
        if visit.session.is_visitor:
            link("Sign in", "/sign-in")
            return
        tag("span", "quiet name", visit.session.user, title=f"Signed in with a key for the role {visit.role}")
        with tag("form", "", method="post", action="/sign-out"):
            tag("button", "button plain-button", "Sign out", type="submit")


@contextmanager
def card(title: str, classes: str = "", hint: str = "") -> Iterator[Element]:
    """A part of a page under a heading."""
    with tag("section", f"card {classes}") as section:
        with tag("div", "card-head"):
            tag("h2", "", title)
            if hint:
                tag("span", "quiet", hint)
        yield section


def empty(sentence: str) -> None:
    """Says that there is nothing yet, and what to do about it."""
    draw_markdown(sentence, "empty")


def start_when_connected(begin: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Begin in the background once the browser is there, for else it may never come; at once if it is there."""
    client, begun = ui.context.client, False

    def start() -> None:
        nonlocal begun
        if not begun:
            begun = True
            background_tasks.create(begin(), name=begin.__qualname__)

    if client.has_socket_connection:
        start()
    else:
        client.on_connect(start)


class Loaded:
    """A place in a page that is filled from the database, off the event loop: waiting, filled, or failed with a way
    to try again. The page itself is there at once."""

    def __init__(self, read: Callable[[], Result], show: Callable[[Result], None], classes: str = "") -> None:
        self._read: Callable[[], Any] = read
        self._show: Callable[[Any], None] = show
        with tag("div", f"place {classes}", aria_busy="true") as self._place:
            draw_waiting()
        start_when_connected(self.refresh)

    async def refresh(self) -> None:
        """Read again, and show what there is now."""
        try:
            result = await run_in_threadpool(self._read)
        except EXPECTED as error:
            sentence = explain(error)
            self._fill(lambda: self._show_failure(sentence))
            return
        self._fill(lambda: self._show(result))

    def _fill(self, show: Callable[[], None]) -> None:
        if self._place.is_deleted:
            return
        self._place.clear()
        self._place.props["aria-busy"] = "false"
        with self._place:
            show()

    def _show_failure(self, sentence: str) -> None:
        async def retry(_: Any) -> None:
            await self.refresh()

        with tag("div", "notice bad", role="alert"):
            tag("p", "", sentence)
            button("Try again", retry)


def show_crash(error: Exception) -> None:
    """The whole page after an error: its sentence if it was on purpose, and nothing of it otherwise."""
    ui.query(".nicegui-content").classes("shell")
    with tag("div", "content"), tag("section", "card"):
        tag("h1", "", "This page cannot be shown")
        tag("p", "", explain(error))
        with tag("div", "row"):
            link("Try again", ui.context.client.request.url.path, "button strong")
            link("Back to the start", "/", "button")


def draw_waiting() -> None:
    """Grey lines where something will be."""
    with tag("div", "waiting", role="status"):
        tag("span", "sr", "Loading…")
        for _ in range(3):
            tag("span", "bone", aria_hidden="true")
