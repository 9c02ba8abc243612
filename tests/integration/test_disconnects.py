"""Clients that go away in the midst of a stream leave nothing behind."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlsplit

import pytest

from settings import Settings
from tests.unit.api.live import QUESTION, Artifacts, Headers, Live, serve, start_app

CLIENTS = 400
AT_ONCE = 40
BODY = json.dumps(QUESTION | {"stream": True, "max_tokens": 100}).encode()
LAST_READ = (b"", b"\r\n\r\n", b'"role":null,"content":"')  # nothing; the headers; the first token


async def vanish(address: str, headers: Headers, last_read: bytes, room: asyncio.Semaphore) -> None:
    """Ask for a stream, read until `last_read`, and hang up."""
    lines = ["POST /v1/chat/completions HTTP/1.1", "Host: ratchet", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    head = "\r\n".join([*lines, f"Content-Length: {len(BODY)}", "", ""])
    async with room:
        reader, writer = await asyncio.open_connection(urlsplit(address).hostname, urlsplit(address).port)
        writer.write(head.encode() + BODY)
        await writer.drain()
        if last_read:
            assert (await reader.readuntil()).startswith(b"HTTP/1.1 200")
            await reader.readuntil(last_read)
        writer.close()
        await writer.wait_closed()


async def vanish_all(address: str, live: Live) -> None:
    """All clients in turn, then wait until no reply is on its way any more."""
    room = asyncio.Semaphore(AT_ONCE)
    async with asyncio.TaskGroup() as group:
        for number in range(CLIENTS):
            last_read = LAST_READ[number % len(LAST_READ)]
            group.create_task(vanish(address, live.callers.client, last_read, room))
    scheduler = live.services.scheduler
    async with asyncio.timeout(5):
        while scheduler.waiting or scheduler.running:
            await asyncio.sleep(0.02)  # the gauges cannot be awaited


@pytest.mark.slow
def test_clients_that_vanish_free_their_slots(settings: Settings, artifacts: Artifacts) -> None:
    settings = settings.model_copy(update={"rate_burst": 2 * CLIENTS, "streams_per_key": CLIENTS})  # none gets a 429
    with start_app(settings, artifacts) as live, serve(live.app) as address:
        asyncio.run(vanish_all(address, live))
        metrics = live.http.get("/metrics").text
        assert "ratchet_chat_waiting 0.0" in metrics
        assert "ratchet_chat_running 0.0" in metrics
        assert live.chat()["usage"]["completion_tokens"] > 0
