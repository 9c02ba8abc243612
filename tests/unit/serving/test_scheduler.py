"""Requests queue, are batched with strangers, stream, and leave when they are cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from data.vocabulary import Message
from serving.artifact import Artifact
from serving.engine import CTranslate2Engine, Sampling
from serving.errors import EngineOverloaded, EngineStopped
from serving.handle import ModelHandle
from serving.prompt import PromptRenderer
from serving.scheduler import Scheduler
from serving.ticket import Ticket
from tests.engines import GENEROUS_S, GatedEngine

TEXTS = ("Hi", "I can't sleep.", "I worry", "Tell me more", "naïve 😀", "one", "two", "three")
GREEDY = Sampling(max_tokens=40)

BuildScheduler = Callable[..., Scheduler]


def render(renderer: PromptRenderer, text: str) -> list[str]:
    messages: list[Message] = [{"role": "user", "content": text}]
    return renderer.render(messages)


@pytest.fixture
def build_scheduler(gated_engine: GatedEngine) -> Iterator[BuildScheduler]:
    """Schedulers that are closed at the end, after the gate was opened."""
    built: list[Scheduler] = []

    def build(queue_limit: int = 64, max_batch: int = 16, threads: int = 1) -> Scheduler:
        built.append(Scheduler(queue_limit, max_batch, threads))
        return built[-1]

    yield build
    gated_engine.gate.set()
    for scheduler in built:
        scheduler.close()


@pytest.fixture
def blocked(
    build_scheduler: BuildScheduler, gated_handle: ModelHandle, gated_engine: GatedEngine
) -> tuple[Scheduler, Ticket]:
    """A scheduler with room for two in the queue, whose one thread is at the gate with one ticket."""
    scheduler = build_scheduler(queue_limit=2)
    ticket = scheduler.submit(gated_handle, render(gated_handle.renderer, "first"), GREEDY)
    gated_engine.wait_paused()
    return scheduler, ticket


class TestSubmit:
    def test_strangers_in_one_batch_read_what_they_would_read_alone(
        self,
        build_scheduler: BuildScheduler,
        gated_handle: ModelHandle,
        gated_engine: GatedEngine,
        engine: CTranslate2Engine,
    ) -> None:
        scheduler = build_scheduler()
        renderer = gated_handle.renderer
        first = scheduler.submit(gated_handle, render(renderer, "first"), GREEDY)
        gated_engine.wait_paused()
        limits = {text: 5 + 4 * index for index, text in enumerate(TEXTS)}
        tickets = {
            text: scheduler.submit(gated_handle, render(renderer, text), Sampling(max_tokens=limits[text]))
            for text in TEXTS
        }
        gated_engine.gate.set()
        for text, ticket in tickets.items():
            [alone] = engine.generate([render(renderer, text)], Sampling(max_tokens=limits[text]))
            assert "".join(ticket) == ticket.result.text == renderer.decode(alone.token_ids)
            assert ticket.result.finish_reason == alone.finish_reason
            assert ticket.result.reply_tokens == len(alone.token_ids)
        assert list(first)
        assert gated_engine.batch_rows == [1, len(TEXTS)]

    def test_refuses_one_more_than_may_wait(
        self, blocked: tuple[Scheduler, Ticket], gated_handle: ModelHandle, gated_engine: GatedEngine
    ) -> None:
        scheduler, running = blocked
        waiting = [scheduler.submit(gated_handle, ["a"], GREEDY) for _ in range(2)]
        with pytest.raises(EngineOverloaded):
            scheduler.submit(gated_handle, ["a"], GREEDY)
        assert (scheduler.waiting, scheduler.running, gated_handle.leases) == (2, 1, 3)
        gated_engine.gate.set()
        assert all(list(ticket) for ticket in (running, *waiting))
        scheduler.close()
        assert (scheduler.waiting, scheduler.running, gated_handle.leases) == (0, 0, 0)

    def test_other_sampling_and_other_lengths_wait_for_another_batch(
        self, build_scheduler: BuildScheduler, gated_handle: ModelHandle, gated_engine: GatedEngine
    ) -> None:
        scheduler = build_scheduler()
        first = scheduler.submit(gated_handle, ["a"], GREEDY)
        gated_engine.wait_paused()
        tickets = [
            scheduler.submit(gated_handle, ["a"] * length, Sampling(max_tokens=9, temperature=temperature))
            for length, temperature in ((1, 0.0), (50, 0.0), (2, 0.5), (3, 0.0))
        ]
        gated_engine.gate.set()
        assert all(list(ticket) for ticket in (first, *tickets))
        assert gated_engine.batch_rows == [1, 2, 1, 1]

    def test_takes_no_more_than_the_largest_batch(
        self, build_scheduler: BuildScheduler, gated_handle: ModelHandle, gated_engine: GatedEngine
    ) -> None:
        scheduler = build_scheduler(max_batch=3)
        first = scheduler.submit(gated_handle, ["a"], GREEDY)
        gated_engine.wait_paused()
        tickets = [scheduler.submit(gated_handle, ["a"], GREEDY) for _ in range(5)]
        gated_engine.gate.set()
        assert all(list(ticket) for ticket in (first, *tickets))
        assert gated_engine.batch_rows == [1, 3, 2]

    def test_a_second_thread_serves_who_comes_while_the_first_is_busy(
        self, build_scheduler: BuildScheduler, gated_handle: ModelHandle, gated_engine: GatedEngine
    ) -> None:
        scheduler = build_scheduler(threads=2)
        for _ in range(2):
            scheduler.submit(gated_handle, ["a"], GREEDY)
        gated_engine.wait_paused()
        gated_engine.wait_paused()
        assert (scheduler.waiting, scheduler.running) == (0, 2)
        assert gated_engine.batch_rows == [1, 1]  # each left the other its share

    def test_cuts_at_a_stop_string(
        self, build_scheduler: BuildScheduler, handle: ModelHandle, engine: CTranslate2Engine
    ) -> None:
        prompt = render(handle.renderer, "Hi")
        [whole] = engine.generate([prompt], GREEDY)
        text = handle.renderer.decode(whole.token_ids)
        stop = text[5:9]
        ticket = build_scheduler().submit(handle, prompt, Sampling(max_tokens=40, stop=(stop,)))
        assert "".join(ticket) == text[: text.find(stop)]
        assert ticket.result.finish_reason == "stop"

    def test_an_error_of_the_engine_reaches_every_reader_of_its_batch(
        self, build_scheduler: BuildScheduler, gated_handle: ModelHandle, gated_engine: GatedEngine
    ) -> None:
        scheduler = build_scheduler()
        first = scheduler.submit(gated_handle, ["a"], GREEDY)
        gated_engine.wait_paused()
        short = scheduler.submit(gated_handle, ["a"] * 10, Sampling(max_tokens=2))
        beyond_window = scheduler.submit(gated_handle, ["a"] * 10, Sampling(max_tokens=300))
        gated_engine.gate.set()
        assert list(short)
        with pytest.raises(RuntimeError, match="256"):
            list(beyond_window)
        assert list(first)
        scheduler.close()
        assert gated_handle.leases == 0

    def test_keeps_the_engine_open_until_its_batch_has_ended(
        self, build_scheduler: BuildScheduler, handle: ModelHandle
    ) -> None:
        ticket = build_scheduler().submit(handle, render(handle.renderer, "Hi"), GREEDY)
        handle.retire()
        assert "".join(ticket) == ticket.result.text != ""
        assert handle.closed.wait(GENEROUS_S)


class TestCancel:
    def test_a_waiting_request_leaves_the_queue(
        self, blocked: tuple[Scheduler, Ticket], gated_handle: ModelHandle
    ) -> None:
        scheduler, _ = blocked
        ticket = scheduler.submit(gated_handle, ["a"], GREEDY)
        ticket.cancel()
        ticket.cancel()
        assert list(ticket) == []
        assert (ticket.result.finish_reason, scheduler.waiting, gated_handle.leases) == ("cancelled", 0, 1)

    def test_a_running_request_ends_at_its_next_token(
        self,
        build_scheduler: BuildScheduler,
        artifact: Artifact,
        renderer: PromptRenderer,
        engine: CTranslate2Engine,
    ) -> None:
        gated_engine = GatedEngine(engine, pause_at=10)
        handle = ModelHandle(1, artifact.digest, artifact.folder, renderer, gated_engine)
        scheduler = build_scheduler()
        ticket = scheduler.submit(handle, render(renderer, "Hi"), Sampling(max_tokens=100))
        gated_engine.wait_paused()
        ticket.cancel()
        gated_engine.gate.set()
        list(ticket)
        assert (ticket.result.finish_reason, ticket.result.reply_tokens) == ("cancelled", 10)
        assert scheduler.running == 0
        scheduler.close()
        assert handle.leases == 0

    def test_does_nothing_after_the_end(self, build_scheduler: BuildScheduler, handle: ModelHandle) -> None:
        ticket = build_scheduler().submit(handle, ["a"], Sampling(max_tokens=3))
        list(ticket)
        ticket.cancel()
        assert ticket.result.finish_reason == "length"


class TestAsyncReading:
    def test_many_streams_need_no_thread_each(
        self, build_scheduler: BuildScheduler, handle: ModelHandle, engine: CTranslate2Engine
    ) -> None:
        scheduler = build_scheduler(threads=2)
        prompts = [render(handle.renderer, text) for text in TEXTS]

        async def read(prompt: list[str]) -> str:
            return "".join([piece async for piece in scheduler.submit(handle, prompt, GREEDY)])

        async def read_all() -> list[str]:
            return await asyncio.gather(*map(read, prompts))

        expected = [handle.renderer.decode(g.token_ids) for g in engine.generate(prompts, GREEDY)]
        assert asyncio.run(read_all()) == expected

    def test_a_reader_whose_loop_is_gone_is_cancelled(
        self, blocked: tuple[Scheduler, Ticket], gated_engine: GatedEngine
    ) -> None:
        scheduler, ticket = blocked

        async def begin_to_wait() -> None:
            waiting = asyncio.ensure_future(anext(aiter(ticket)))
            await asyncio.sleep(0)  # the reader waits now, and the loop ends under it
            assert not waiting.done()

        asyncio.run(begin_to_wait())
        gated_engine.gate.set()
        scheduler.close()
        assert ticket.result.finish_reason == "cancelled"
        assert 0 < ticket.result.reply_tokens < GREEDY.max_tokens


class TestClose:
    def test_lets_running_replies_end_and_fails_those_that_wait(
        self, blocked: tuple[Scheduler, Ticket], gated_handle: ModelHandle, gated_engine: GatedEngine
    ) -> None:
        scheduler, running = blocked
        waiting = scheduler.submit(gated_handle, ["a"], GREEDY)
        with ThreadPoolExecutor(1) as closer:
            closed = closer.submit(scheduler.close)
            with pytest.raises(EngineStopped):  # comes while the running batch is still at the gate
                list(waiting)
            assert not running.has_ended
            gated_engine.gate.set()
            closed.result(GENEROUS_S)
        assert running.result.finish_reason in ("stop", "length")
        assert gated_handle.leases == 0
        with pytest.raises(EngineStopped):
            scheduler.submit(gated_handle, ["a"], GREEDY)
