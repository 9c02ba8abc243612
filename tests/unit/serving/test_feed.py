"""A feed hands every piece to its reader, in a thread or in async code, and then its end."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from serving.feed import Completed, TextFeed
from tests.engines import GENEROUS_S

END = Completed("ab", "stop", prompt_tokens=3, reply_tokens=2)


async def read(feed: TextFeed) -> list[str]:
    return [piece async for piece in feed]


class TestIter:
    def test_gives_what_came_before_and_what_comes_later(self) -> None:
        feed = TextFeed()
        feed.push("a")
        with ThreadPoolExecutor(1) as reader:
            pieces = iter(feed)
            assert next(pieces) == "a"
            rest = reader.submit(list, pieces)
            feed.push("b")
            feed.push("")
            feed.finish(END)
            assert rest.result(GENEROUS_S) == ["b"]
        assert feed.result == END

    def test_raises_the_error_after_the_pieces(self) -> None:
        feed = TextFeed()
        feed.push("a")
        feed.fail(ValueError("broken"))
        pieces = iter(feed)
        assert next(pieces) == "a"
        with pytest.raises(ValueError, match="broken"):
            next(pieces)


class TestAiter:
    def test_gives_what_another_thread_pushes(self) -> None:
        feed = TextFeed()

        async def read_while_pushed() -> list[str]:
            pieces = aiter(feed)
            feed.push("a")
            first = await anext(pieces)
            rest = asyncio.ensure_future(anext(pieces))
            await asyncio.sleep(0)  # the reader waits now
            threading.Thread(target=push_rest).start()
            return [first, await rest, *[piece async for piece in pieces]]

        def push_rest() -> None:
            feed.push("b")
            feed.finish(END)

        assert asyncio.run(asyncio.wait_for(read_while_pushed(), GENEROUS_S)) == ["a", "b"]

    def test_gives_an_ended_reply_at_once(self) -> None:
        feed = TextFeed()
        feed.push("ab")
        feed.finish(END)
        assert asyncio.run(read(feed)) == ["ab"]

    def test_raises_the_error_after_the_pieces(self) -> None:
        feed = TextFeed()
        feed.push("a")
        feed.fail(ValueError("broken"))

        async def read_both() -> str:
            pieces = aiter(feed)
            first = await anext(pieces)
            with pytest.raises(ValueError, match="broken"):
                await anext(pieces)
            return first

        assert asyncio.run(asyncio.wait_for(read_both(), GENEROUS_S)) == "a"


class TestResult:
    def test_is_an_error_before_the_end(self) -> None:
        with pytest.raises(RuntimeError, match="not ended"):
            _ = TextFeed().result

    def test_raises_the_error_of_the_reply(self) -> None:
        feed = TextFeed()
        feed.fail(ValueError("broken"))
        assert feed.has_ended
        with pytest.raises(ValueError, match="broken"):
            _ = feed.result
