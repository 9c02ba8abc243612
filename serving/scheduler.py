"""The queue before the engine: requests of strangers become batches, each row streams to its own reader."""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace

from serving.engine import Sampling
from serving.errors import EngineOverloaded, EngineStopped
from serving.handle import ModelHandle
from serving.output_filter import OutputFilter
from serving.ticket import Ticket


class Scheduler:
    """A bounded queue and a few decode threads.

    A free thread takes the oldest request and those that can join it (`Ticket.can_join`), up to `max_batch`,
    but leaves the other free threads their share. Nobody joins a batch that runs: a later request waits for
    the next free thread.

    An engine that lets strangers join at any step (`ModelHandle.joins_strangers`) gets each request at once, in
    a thread that only waits for it.

    Attributes:
        queue_limit: requests that may wait; one more is refused.
        max_batch: rows in one batch.
        threads: batches that run side by side; the engine needs as many `inter_threads`.
        streams: requests that an engine which lets strangers join has at once.
    """

    def __init__(self, queue_limit: int, max_batch: int = 16, threads: int = 2, streams: int = 32) -> None:
        self.queue_limit = queue_limit
        self.max_batch = max_batch
        self.threads = threads
        self.streams = streams
        self._lock = threading.Lock()
        self._waiting: deque[Ticket] = deque()
        self._batches: list[list[Ticket]] = []
        self._is_closed = False
        self._executor = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._stream_executor = ThreadPoolExecutor(streams, thread_name_prefix="stream")

    @property
    def waiting(self) -> int:
        """Requests in the queue."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Replies that are being generated."""
        with self._lock:
            return sum(not ticket.has_ended for batch in self._batches for ticket in batch)

    def submit(
        self,
        handle: ModelHandle,
        prompt_tokens: list[str],
        sampling: Sampling,
        output_filter: OutputFilter | None = None,
    ) -> Ticket:
        """Queue one request; the caller holds a lease on `handle` during this call, the ticket from then on.

        Prompt and `max_tokens` together must fit into the window.

        Raises:
            EngineOverloaded: `queue_limit` requests wait already.
            EngineStopped: the scheduler was closed.
        """
        with self._lock:
            if self._is_closed:
                raise EngineStopped
            if len(self._waiting) >= self.queue_limit:
                raise EngineOverloaded
            ticket = Ticket(handle, prompt_tokens, sampling, self._discard, output_filter)
            handle.acquire()
            self._waiting.append(ticket)
            executor = self._stream_executor if handle.joins_strangers else self._executor
            executor.submit(self._decode_next, handle.joins_strangers)  # one for each: some find no ticket left
        return ticket

    def close(self) -> None:
        """Refuse new requests, fail those that wait, and return when the running batches have ended."""
        with self._lock:
            self._is_closed = True
            waiting, self._waiting = self._waiting, deque()
        for ticket in waiting:
            ticket.fail(EngineStopped())
        _release(waiting)
        self._executor.shutdown(wait=True)
        self._stream_executor.shutdown(wait=True)

    def _discard(self, ticket: Ticket) -> None:
        """Take a cancelled ticket out of the queue; one that runs is left to its batch."""
        with self._lock:
            if ticket not in self._waiting:
                return
            self._waiting.remove(ticket)
        ticket.complete("cancelled")
        _release([ticket])

    def _decode_next(self, joins_strangers: bool) -> None:
        batch = self._take_one() if joins_strangers else self._take_batch()
        if not batch:
            return
        sampling = replace(batch[0].sampling, max_tokens=max(ticket.sampling.max_tokens for ticket in batch))
        with ExitStack() as stack:
            stack.push(lambda _kind, error, _trace: self._end(batch, error))
            batch[0].handle.engine.generate(
                [ticket.prompt_tokens for ticket in batch],
                sampling,
                lambda row, token_id: batch[row].take_token(token_id),
            )

    def _end(self, batch: list[Ticket], error: BaseException | None) -> None:
        """After a batch. An error of the engine is not handled here: it belongs to the readers, as with a Future."""
        for ticket in batch:
            if error is not None and not ticket.has_ended:
                ticket.fail(error)
        with self._lock:
            self._batches.remove(batch)
        _release(batch)

    def _take_one(self) -> list[Ticket]:
        with self._lock:
            batch = [ticket for ticket in self._waiting if ticket.handle.joins_strangers][:1]
            for ticket in batch:
                self._waiting.remove(ticket)
                self._batches.append(batch)
            return batch

    def _take_batch(self) -> list[Ticket]:
        with self._lock:
            waiting = [ticket for ticket in self._waiting if not ticket.handle.joins_strangers]
            if not waiting:
                return []
            alike = [ticket for ticket in waiting if ticket.can_join(waiting[0])]
            running = sum(not batch[0].handle.joins_strangers for batch in self._batches)
            share = math.ceil(len(alike) / (self.threads - running))
            batch = alike[: min(share, self.max_batch)]
            for ticket in batch:
                self._waiting.remove(ticket)
            self._batches.append(batch)
            return batch


def _release(tickets: Iterable[Ticket]) -> None:
    """Give the leases back; only now, because the last one closes the engine."""
    for ticket in tickets:
        ticket.handle.release()
