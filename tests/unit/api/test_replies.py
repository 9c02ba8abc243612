"""Clients that go away: their slot is freed, and what they got is recorded."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import httpx
import pytest
import redis
from sqlalchemy import select
from starlette.types import Message, Receive, Scope, Send

from api.limits import PREFIX
from db.keys import find_key
from db.models import Completion
from serving.chat import ChatService
from serving.engine import CTranslate2Engine, Sampling
from serving.handle import ModelHandle, load_handle
from serving.slot import ModelSlot
from tests.engines import GENEROUS_S, GatedEngine
from tests.unit.api.live import QUESTION, Artifacts, Live, serve

URL = "/v1/chat/completions"
PAUSE_AT_TOKEN = 3


class GatedSlot(ModelSlot):
    """A slot that holds a given handle."""

    def __init__(self, handle: ModelHandle) -> None:
        super().__init__()
        self._current = handle


class DisconnectNotice:
    """The app, which tells when it has learned of clients that went away."""

    def __init__(self, live: Live) -> None:
        self._live = live
        self.noticed = threading.Semaphore(0)  # one permit for each client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_and_tell() -> Message:
            message = await receive()
            if message["type"] == "http.disconnect":
                # once the app has done what it does about it
                asyncio.get_running_loop().call_soon(self.noticed.release)
            return message

        await self._live.app(scope, receive_and_tell, send)

    def wait_noticed(self, clients: int = 1) -> None:
        for _ in range(clients):
            assert self.noticed.acquire(timeout=GENEROUS_S)


@pytest.fixture
def gated(live: Live, artifacts: Artifacts) -> Iterator[GatedEngine]:
    """The engine of the app, which stops in the middle of each reply."""
    handle = load_handle(artifacts.root / artifacts.folders[0], version=0, engine="ctranslate2")
    assert isinstance(handle.engine, CTranslate2Engine)
    gated = GatedEngine(handle.engine, PAUSE_AT_TOKEN)
    slot = GatedSlot(dataclasses.replace(handle, engine=gated))
    services = live.services
    chat = ChatService(slot, services.scheduler, max_reply_tokens=100)
    live.app.state.services = dataclasses.replace(services, slot=slot, chat=chat)
    yield gated
    gated.gate.set()


@contextmanager
def connect(address: str, live: Live, *, stream: bool) -> Iterator[socket.socket]:
    """A client that has sent its question; at the end it goes away."""
    request = httpx.Request("POST", f"{address}{URL}", json=QUESTION | {"stream": stream, "max_tokens": 50})
    headers = {**request.headers, **live.callers.client}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with socket.create_connection((request.url.host, request.url.port or 80)) as connection:
        connection.sendall(f"POST {URL} HTTP/1.1\r\n{head}\r\n".encode() + request.content)
        yield connection


def hold_decode_threads(live: Live, gated: GatedEngine) -> None:
    """Let each thread stop in the middle of a reply, so that all further requests wait."""
    handle, scheduler = live.services.slot.current, live.services.scheduler
    assert handle is not None
    prompt = handle.renderer.render([{"role": "user", "content": "Hello."}])
    for _ in range(scheduler.threads):
        scheduler.submit(handle, prompt, Sampling(max_tokens=8))
        gated.wait_paused()


def count_open_replies(live: Live, broker_url: str) -> int:
    """How many replies count against the limit of the client's key."""
    with live.services.database.reading() as session:
        key = find_key(session, live.callers.client["Authorization"].removeprefix("Bearer "))
    assert key is not None
    with redis.Redis.from_url(broker_url) as store:
        return int(store.zcard(f"{PREFIX}replies:{key.id}"))


def list_completions(live: Live) -> list[Completion]:
    with live.services.database.reading() as session:
        return list(session.scalars(select(Completion)))


class TestHoldExchange:
    @pytest.mark.parametrize("stream", [False, True])
    def test_a_client_that_goes_away_amid_its_reply_frees_its_slot(
        self, live: Live, gated: GatedEngine, broker_url: str, stream: bool
    ) -> None:
        notice = DisconnectNotice(live)
        with serve(notice) as address:
            with connect(address, live, stream=stream) as connection:
                gated.wait_paused()
                if stream:
                    assert connection.recv(100).startswith(b"HTTP/1.1 200")
                    assert count_open_replies(live, broker_url) == 1
            notice.wait_noticed()
            gated.gate.set()
        assert count_open_replies(live, broker_url) == 0
        [row] = list_completions(live)
        assert row.finish_reason == "disconnect"
        assert 0 < row.reply_tokens <= PAUSE_AT_TOKEN
        assert row.reply
        assert live.services.scheduler.running == 0

    @pytest.mark.parametrize("stream", [False, True])
    def test_clients_that_go_away_before_the_first_token_leave_the_queue(
        self, live: Live, gated: GatedEngine, stream: bool
    ) -> None:
        services, notice = live.services, DisconnectNotice(live)
        hold_decode_threads(live, gated)
        with serve(notice) as address:
            for _ in range(20):
                with connect(address, live, stream=stream) as connection:
                    if stream:
                        assert connection.recv(100).startswith(b"HTTP/1.1 200")
            notice.wait_noticed(20)
            gated.gate.set()
            assert live.chat()["choices"][0]["finish_reason"] == "length"  # the next client is served
        assert services.scheduler.waiting == services.scheduler.running == 0
        rows = list_completions(live)
        assert sorted(row.finish_reason for row in rows) == ["disconnect"] * 20 + ["length"]
        assert all(row.reply_tokens == 0 for row in rows if row.finish_reason == "disconnect")


class TestReplyStream:
    def test_tells_of_a_failure_when_it_is_too_late_for_a_status(
        self, live: Live, gated: GatedEngine, broker_url: str
    ) -> None:
        hold_decode_threads(live, gated)
        body = QUESTION | {"stream": True}
        with (
            serve(live.app) as address,
            httpx.stream("POST", f"{address}{URL}", json=body, headers=live.callers.client) as response,
            ThreadPoolExecutor() as threads,
        ):
            closing = threads.submit(live.services.scheduler.close)  # fails the replies that wait
            text = response.read().decode()
            gated.gate.set()
            closing.result(GENEROUS_S)
        assert response.status_code == 200
        assert '"code":"shutting_down"' in text
        assert "[DONE]" not in text
        assert list_completions(live) == []
        assert count_open_replies(live, broker_url) == 0
