"""`/`: the chat. It asks, streams, stops, asks again, and lets each reply be rated and corrected."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import Request
from nicegui import background_tasks, ui
from nicegui.element import Element
from starlette.concurrency import run_in_threadpool
from starlette.types import Message

from api.completions import Exchange, begin_exchange, build_choice_id, find_finish_reason
from api.logs import log
from api.replies import hold_exchange
from api.routes.conversations import read_conversation
from api.schemas.chat import ChatCompletionCreate, ChatMetadata
from api.ui.access import EXPECTED, Visit, page
from api.ui.frame import Loaded, frame
from api.ui.markup import write_time
from api.ui.parts import Fields, button, draw_markdown, explain, guard, icon, link, say, tag
from api.ui.reply_view import ReplyView, prefer
from api.ui.turns import Sibling, Turn, build_messages, build_turns
from data.errors import NotFound
from data.vocabulary import KeyRole
from db.base import new_id
from db.completions import ConversationOpening, list_conversations

_CONVERSATIONS = 40  # in the list
_PAGE = 200  # replies of a conversation that are read at once
_TITLE_CHARACTERS = 60
_REPLY_TOKENS = 160  # so that a small processor is done in seconds; the server may allow less
_STARTS = ("I cannot sleep before exams.", "Work has been too much lately.", "I feel alone in a new city.")

_SEND = """(event) => {
    event.preventDefault();
    const box = event.target.elements.message, text = box.value.trim();
    if (!text || event.target.dataset.busy === 'true') return;
    event.target.reset();
    emit({message: [text]});
}"""
_KEYS = """(event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        event.target.form.requestSubmit();
    } else if (event.key === 'Escape') document.getElementById('stop')?.click();
}"""
_FOLLOW = """
const log = document.querySelector('.log');
let follows = true;
log.addEventListener('scroll', () => { follows = log.scrollHeight - log.scrollTop - log.clientHeight < 90; });
new MutationObserver(() => { if (follows) log.scrollTop = log.scrollHeight; })
    .observe(log, {childList: true, subtree: true, characterData: true});
log.scrollTop = log.scrollHeight;
if (window.innerWidth < 736) document.querySelector('.side details').open = false;
"""


@page("/", access=KeyRole.CLIENT, title="Chat")
async def show_chat(visit: Visit, request: Request) -> None:
    """The chat, with the conversation that the address names as `c`."""
    conversation_id = request.query_params.get("c")
    turns: list[Turn] = []
    problem = ""
    if conversation_id:
        try:
            turns = await run_in_threadpool(_read_turns, visit, conversation_id)
        except EXPECTED as error:
            conversation_id, problem = None, explain(error)
    with frame(visit, "/", "chat"):
        Chat(visit, conversation_id or new_id("conv"), turns, is_new=conversation_id is None).draw(problem)


class Chat:
    """A conversation on a page."""

    def __init__(self, visit: Visit, conversation_id: str, turns: list[Turn], *, is_new: bool) -> None:
        self._visit = visit
        self._conversation_id = conversation_id
        self._turns = turns
        self._is_new = is_new
        self._boxes: list[Element] = []
        self._is_busy = False  # before there is an exchange, which takes a while to begin
        self._exchange: Exchange | None = None
        self._left = asyncio.Event()

    def draw(self, problem: str) -> None:
        """The list of conversations, what was said, and where to write."""
        client = ui.context.client
        client.on_delete(self._left.set)
        client.on_connect(lambda: ui.run_javascript(_FOLLOW))
        self._draw_list()
        with tag("div", "talk"):
            with tag("div", "log", role="log", aria_label="Conversation", tabindex="0"), tag("div") as self._log:
                if problem:
                    tag("p", "notice bad", problem, role="alert")
                self._hello = tag("div", "" if self._turns else "hello")
                if not self._turns:
                    self._draw_hello()
                for turn in self._turns:
                    self._add_turn(turn)
            self._draw_composer()

    def _draw_list(self) -> None:
        with tag("aside", "side", aria_label="Conversations"):
            link("New conversation", "/", "button")
            with tag("details", open=True):
                tag("summary", "", "Conversations")
                self._list = Loaded(self._read_list, self._show_list)

    def _read_list(self) -> list[ConversationOpening]:
        session = self._visit.session
        with self._visit.services.database.reading() as reading:
            return list_conversations(reading, session.key_id, session.user, _CONVERSATIONS)

    def _show_list(self, conversations: list[ConversationOpening]) -> None:
        if not conversations:
            tag("p", "empty", "None yet. Write something, and it is kept here.")
        with tag("nav", aria_label="Earlier conversations"):
            for item in conversations:
                here = "page" if item.id == self._conversation_id else None
                with tag("a", "", href=f"/?c={item.id}", aria_current=here):
                    tag("span", "", item.opening[:_TITLE_CHARACTERS])
                    tag("small", "", write_time(item.created_at_s))

    def _draw_hello(self) -> None:
        with self._hello:
            tag("h1", "", "What is on your mind?")
            tag(
                "p",
                "",
                "A small language model answers. Tell it with a thumb whether the reply was good: it learns from that.",
            )
            with tag("div", "starts"):
                for text in _STARTS:
                    self._draw_start(text)

    def _draw_start(self, text: str) -> None:
        async def start(_: Any) -> None:
            await self._send({"message": [text]})

        button(text, start, "small")

    def _draw_composer(self) -> None:
        with tag("div", "composer"), tag("div"):
            with tag("form", data_busy="false") as self._form:
                tag(
                    "textarea",
                    "",
                    "",
                    name="message",
                    rows="1",
                    aria_label="Your message",
                    placeholder="Write a message",
                    autofocus=True,
                    maxlength="20000",
                    id="message",
                ).on("keydown", js_handler=_KEYS)
                self._stop = button("Stop", self._stop_reply, "round gone", "stop", id="stop")
                self._go = tag("button", "button round", type="submit", aria_label="Send", title="Send")
                with self._go:
                    icon("send")
            self._form.on("submit", guard(self._send), js_handler=_SEND)
            with tag("p", "care"):
                tag("span", "", "This is a computer program, not professional care. In need of help now? ")
                tag(
                    "a",
                    "",
                    "Find a helpline",
                    href="https://findahelpline.com",
                    target="_blank",
                    rel="noopener noreferrer",
                )

    async def _send(self, fields: Fields) -> None:
        """Ask, and answer in the background, so that the page goes on."""
        if self._is_busy:
            return
        turn = Turn(fields["message"][0])
        self._turns.append(turn)
        self._hello.classes("gone")
        self._add_turn(turn)
        self._begin_answer(turn)

    def _begin_answer(self, turn: Turn) -> None:
        """Nothing happens while an answer is on its way, as at the second of two quick clicks."""
        if not self._is_busy:
            self._is_busy = True
            background_tasks.create(self._answer(turn), name="answer")

    async def _answer(self, turn: Turn) -> None:
        """One reply to the turn, which is the last one."""
        self._set_busy(True)
        box = self._boxes[-1]
        with box:
            place = tag("div", "reply")
        with place:
            tag("p", "by", "Writing…")
            words = tag("div", "streaming", "", aria_busy="true")
        try:
            sibling, is_recorded = await self._stream(words)
            turn.add(sibling)
            self._draw_turn(turn, box)
            if is_recorded:
                await self._note_address()
        except (*EXPECTED, RuntimeError, ValueError) as error:  # the last two as engines fail
            log.warning("reply broke", action="reply_failed", error=type(error).__name__)
            self._show_failure(turn, box, error)
        finally:
            self._is_busy, self._exchange = False, None
            self._set_busy(False)

    async def _stream(self, words: Element) -> tuple[Sibling, bool]:
        """The reply, and whether it was recorded."""
        key = await self._visit.admit(KeyRole.CLIENT)
        body = ChatCompletionCreate(
            messages=build_messages(self._turns),
            max_tokens=_REPLY_TOKENS,
            user=self._visit.session.user,
            metadata=ChatMetadata(conversation_id=self._conversation_id),
        )
        exchange = await run_in_threadpool(begin_exchange, self._visit.services, key, body)
        self._exchange = exchange
        reply, text = exchange.replies[0], ""
        async with hold_exchange(exchange, self._await_leaving):
            async for piece in reply:
                text += piece
                if not words.is_deleted:
                    say(words, text)
            is_recorded = await run_in_threadpool(exchange.record)
        version = reply.version if reply.digest else None
        completion_id = build_choice_id(exchange.completion_id, 0)
        finish_reason = find_finish_reason(reply)
        return Sibling(completion_id, reply.result.text, version, finish_reason, reply.is_crisis), is_recorded

    async def _await_leaving(self) -> Message:
        """Tells `hold_exchange` that the browser has left, as a server would."""
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def _stop_reply(self, _: Any) -> None:
        if self._exchange is not None:
            self._exchange.close()

    def _set_busy(self, is_busy: bool) -> None:
        if self._form.is_deleted:
            return
        self._form.props["data-busy"] = "true" if is_busy else "false"
        for element, is_gone in ((self._stop, not is_busy), (self._go, is_busy)):
            element.classes("gone") if is_gone else element.classes(remove="gone")
        with self._form:
            ui.run_javascript(
                "if (document.activeElement === document.body) document.getElementById('message').focus()"
            )

    async def _note_address(self) -> None:
        """After the first reply the address names the conversation, and the list holds it."""
        if self._is_new and not self._form.is_deleted:
            self._is_new = False
            with self._form:
                ui.navigate.history.replace(f"/?c={self._conversation_id}")
            await self._list.refresh()

    def _show_failure(self, turn: Turn, box: Element, error: Exception) -> None:
        if box.is_deleted:
            return

        async def retry(_: Any) -> None:
            if not self._is_busy:
                self._draw_turn(turn, box)
                self._begin_answer(turn)

        self._draw_turn(turn, box)
        with box, tag("div", "notice bad", role="alert"):
            tag("p", "", explain(error))
            button("Try again", retry)

    def _add_turn(self, turn: Turn) -> None:
        for box in self._boxes[-1:]:
            self._draw_turn(self._turns[self._turns.index(turn) - 1], box, is_last=False)
        with self._log, tag("section", "turn"):
            tag("p", "asked", turn.question)
            self._boxes.append(tag("div", "replies"))
        self._draw_turn(turn, self._boxes[-1])

    def _draw_turn(self, turn: Turn, box: Element, *, is_last: bool = True) -> None:
        """The reply that is shown, or the last two side by side."""
        if box.is_deleted:
            return
        box.clear()
        box.classes(add="compared" if turn.is_compared else "", remove="" if turn.is_compared else "compared")
        with box:
            if turn.is_compared:
                for better, worse in ((-2, -1), (-1, -2)):
                    self._draw_compared(turn, box, turn.siblings[better], turn.siblings[worse])
            elif turn.current is not None:
                ReplyView(self._visit, turn.current, lambda: self._draw_ways(turn, box, is_last))

    def _draw_compared(self, turn: Turn, box: Element, sibling: Sibling, other: Sibling) -> None:
        async def choose(_: Any) -> None:
            await prefer(self._visit, sibling, other)
            turn.choose(sibling)
            self._draw_turn(turn, box, is_last=turn is self._turns[-1])

        with tag("article", "reply", aria_label="Reply"):
            version = "" if sibling.version_number is None else f" · Version {sibling.version_number}"
            tag("p", "by", f"Reply {turn.siblings.index(sibling) + 1} of {len(turn.siblings)}{version}")
            draw_markdown(sibling.text or "(no words came)")
            with tag("div", "row"):
                button("This one is better", choose, "small")

    def _draw_ways(self, turn: Turn, box: Element, is_last: bool) -> None:
        """Another try, and the way through the replies that there are."""
        if is_last:
            button("Answer again", self._answer_again, icon_name="again")
        if len(turn.siblings) < 2:
            return

        def step(by: int) -> Any:
            async def move(_: Any) -> None:
                turn.shown = (turn.shown + by) % len(turn.siblings)
                self._draw_turn(turn, box, is_last=turn is self._turns[-1])

            return move

        button("Reply before", step(-1), icon_name="left")
        tag("span", "pager", f"{turn.shown + 1} of {len(turn.siblings)} replies")
        button("Reply after", step(1), icon_name="right")

    async def _answer_again(self, _: Any) -> None:
        self._begin_answer(self._turns[-1])


def _read_turns(visit: Visit, conversation_id: str) -> list[Turn]:
    """The turns of a conversation.

    Raises:
        NotFound: it is not this person's.
    """
    key = visit.services.keys.find_by_id(visit.session.key_id)
    assert key is not None  # the page was let in with it
    completions = []
    cursor: str | None = None
    while True:
        part = read_conversation(conversation_id, key, visit.services, cursor, _PAGE)
        if part.end_user != visit.session.user:
            raise NotFound(f"There is no conversation {conversation_id!r}, or it is another person's.")
        completions += part.completions
        cursor = part.next_cursor
        if cursor is None:
            return build_turns(completions, visit.session.user)
