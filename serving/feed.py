"""The way of a reply's text from the thread that makes it to its one consumer, a thread or a coroutine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass

from serving.engine import FinishReason


@dataclass(frozen=True)
class Completed:
    """How a reply ended."""

    text: str  # all pieces together
    finish_reason: FinishReason  # "stop" (end token or stop string), "length", "cancelled" or "content_filter"
    prompt_tokens: int
    reply_tokens: int  # without the end token
    filtered: tuple[str, ...] = ()  # the rules of the output filter that fired, in order


class TextFeed:
    """Pieces of one reply: `for piece in feed`, or `async for piece in feed`, which occupies no thread.

    It holds no resource: a consumer that never starts, or that walks away, leaves nothing open. If the reply
    fails, the consumer gets the pieces before the failure and then the exception.
    """

    def __init__(self) -> None:
        self._news = threading.Condition()
        self._pieces: list[str] = []
        self._result: Completed | None = None
        self._error: BaseException | None = None
        self._wake: Callable[[], object] = self._news.notify_all
        self._is_woken = False  # the consumer has been told of news that it has not taken yet
        self._is_abandoned = False  # nobody will read on: the producer may stop

    @property
    def has_ended(self) -> bool:
        """True once no more pieces can come."""
        return self._result is not None or self._error is not None

    @property
    def result(self) -> Completed:
        """How the reply ended. Raises the reply's own error, or RuntimeError before the end."""
        if self._error:
            raise self._error
        if self._result is None:
            raise RuntimeError("The reply has not ended yet; read its pieces first.")
        return self._result

    def push(self, piece: str) -> None:
        """Hand one piece to the consumer; an empty one is skipped."""
        if piece:
            with self._news:
                self._pieces.append(piece)
                self._wake()

    def finish(self, result: Completed) -> None:
        """End the reply."""
        with self._news:
            self._result = result
            self._wake()

    def fail(self, error: BaseException) -> None:
        """End the reply with an error."""
        with self._news:
            self._error = error
            self._wake()

    def __iter__(self) -> Iterator[str]:
        while True:
            with self._news:
                self._news.wait_for(lambda: self._pieces or self.has_ended)
            pieces, is_last = self._take()
            yield from pieces
            if is_last:
                return

    async def __aiter__(self) -> AsyncIterator[str]:
        loop, news = asyncio.get_running_loop(), asyncio.Event()
        with self._news:
            self._wake = lambda: self._wake_loop(loop, news)
        while True:
            news.clear()  # before taking, so that nothing that comes in between is missed
            pieces, is_last = self._take()
            for piece in pieces:
                yield piece
            if is_last:
                return
            if not pieces:
                await news.wait()

    def _take(self) -> tuple[list[str], bool]:
        """What has come since, and whether that was all; raises the error after the pieces before it."""
        with self._news:
            pieces, self._pieces = self._pieces, []
            self._is_woken = False
            if self._error and not pieces:
                raise self._error
            return pieces, self._result is not None

    def _wake_loop(self, loop: asyncio.AbstractEventLoop, news: asyncio.Event) -> None:
        if self._is_woken:  # waking a loop is a system call, and pieces may come faster than it turns
            return
        self._is_woken = True
        try:
            loop.call_soon_threadsafe(news.set)
        except RuntimeError:  # the loop was closed, so nobody is left to read
            self._is_abandoned = True
