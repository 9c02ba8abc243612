"""A TCP proxy that breaks connections as networks do: slowly, with a reset, or in silence."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections.abc import Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

_CHUNK_BYTES = 65_536
_LINGER_NOT = struct.pack("ii", 1, 0)  # closing sends a reset


class _Link:
    """One connection through the proxy, as the writers towards both its ends."""

    def __init__(self, *writers: asyncio.StreamWriter) -> None:
        self.writers = writers
        self.is_silent = False  # for good: what comes from either end is dropped, and nobody is told


class Proxy:
    """Passes bytes between a free loopback port and `target` until told to do otherwise; delays are drawn by `seed`."""

    def __init__(self, target: tuple[str, int], seed: int = 0) -> None:
        self.port = 0
        self.max_delay_s = 0.0  # of each piece, drawn evenly from 0
        self._target = target
        self._random = random.Random(seed)
        self._is_silent = False
        self._links: set[_Link] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._server = self._do(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def reset(self) -> int:
        """Break every connection with a reset; how many there were."""
        return self._do(self._reset())

    def silence(self) -> None:
        """A black hole: what is sent is lost, on old connections and new ones, and nobody is told."""
        self._do(self._silence(True))

    def restore(self) -> None:
        """New connections pass again; those of before stay half open, as behind a firewall that forgot them."""
        self._do(self._silence(False))

    async def _silence(self, is_silent: bool) -> None:
        self._is_silent = is_silent
        for link in self._links:
            link.is_silent = True

    async def _reset(self) -> int:
        links, self._links = self._links, set()
        for link in links:
            for writer in link.writers:
                if (connection := writer.get_extra_info("socket")).fileno() >= 0:  # else its end has left by itself
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
                writer.transport.abort()
        return len(links)

    async def _end(self) -> None:
        self._server.close()
        await self._reset()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far_reader, far_writer = await asyncio.open_connection(*self._target)
        except OSError:  # nobody is there: neither are we
            writer.transport.abort()
            return
        link = _Link(writer, far_writer)
        link.is_silent = self._is_silent
        self._links.add(link)
        with suppress(OSError):
            pumps = (self._pump(link, reader, far_writer), self._pump(link, far_reader, writer))
            await asyncio.gather(*pumps)
        self._links.discard(link)

    async def _pump(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while piece := await reader.read(_CHUNK_BYTES):
                if self.max_delay_s:
                    await asyncio.sleep(self._random.uniform(0, self.max_delay_s))
                if not link.is_silent:
                    writer.write(piece)
                    await writer.drain()
        if not link.is_silent:
            writer.close()

    def _do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(timeout=10)
