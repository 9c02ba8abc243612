"""An open-loop load generator: requests leave at their time, whether or not earlier ones were answered."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

_PATIENCE_S = 15.0  # after the last request; what is then unanswered is an error


@dataclass(frozen=True)
class Answer:
    """What came back; status 0: nothing did."""

    status: int
    seconds: float
    body: bytes = b""


@dataclass(frozen=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        self.writer.write(request)
        head = await self.reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        return int(head.split(b" ", 2)[1]), await self.reader.readexactly(int(fields[b"content-length"]))


class Client:
    """Keeps connections open, as many as there are requests on their way; new ones go to the servers in turn."""

    def __init__(self, ports: Sequence[int], key: str) -> None:
        self._ports = itertools.cycle(ports)
        self._headers = f"Host: 127.0.0.1\r\nAuthorization: Bearer {key}\r\nContent-Type: application/json"
        self._idle: list[_Connection] = []

    async def send_all(self, path: str, bodies: Sequence[bytes], rate: float) -> list[Answer]:
        """The answers to all bodies, `rate` of which leave in a second, in their order."""
        started_s, tasks = time.perf_counter(), []
        for index, body in enumerate(bodies):
            if (wait_s := started_s + index / rate - time.perf_counter()) > 0:
                await asyncio.sleep(wait_s)
            tasks.append(asyncio.create_task(self._post(path, body)))
        done, late = await asyncio.wait(tasks, timeout=_PATIENCE_S)
        for task in late:
            task.cancel()
        return [task.result() if task in done else Answer(0, _PATIENCE_S) for task in tasks]

    def close(self) -> None:
        """Close all connections."""
        for connection in self._idle:
            connection.writer.close()

    async def _post(self, path: str, body: bytes) -> Answer:
        head = f"POST {path} HTTP/1.1\r\n{self._headers}\r\nContent-Length: {len(body)}\r\n\r\n"
        started_s = time.perf_counter()
        try:
            async with self._connection() as connection:
                status, answer = await connection.ask(head.encode() + body)
        except (OSError, asyncio.IncompleteReadError):
            return Answer(0, time.perf_counter() - started_s)
        return Answer(status, time.perf_counter() - started_s, answer)

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[_Connection]:
        """One that is idle or new; it is used again unless its use fails."""
        while self._idle and self._idle[-1].reader.at_eof():  # the server hangs up on idle ones
            self._idle.pop().writer.close()
        connection = (
            self._idle.pop()
            if self._idle
            else _Connection(*await asyncio.open_connection("127.0.0.1", next(self._ports)))
        )
        is_whole = False
        try:
            yield connection
            is_whole = True
        finally:
            if is_whole:
                self._idle.append(connection)
            else:
                connection.writer.close()
