"""Rows of strangers share the steps of one model: who comes joins the next step, who has ended leaves at once."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from serving.cache_blocks import CacheBlocks, Loan, count_blocks
from serving.rows import Logits, Row

_STEP_TOKENS = 256  # bounds how long a step, and so everyone's next token, waits for the prompts of newcomers
_MAX_ROWS = 64


@dataclass(frozen=True)
class Slice:
    """What one step reads of one row.

    Attributes:
        token_ids: the tokens that come now, at least 1.
        past: tokens of the row that the cache holds already.
        blocks: the row's blocks, enough for `past` and these tokens.
        wanted: places within `token_ids` whose logits are wanted; may be empty.
    """

    token_ids: Sequence[int]
    past: int
    blocks: Sequence[int]
    wanted: Sequence[int]


class Steps(Protocol):
    """A model that reads slices of rows; `serving.openvino_graph.StepGraph` is one."""

    block_count: int

    def run(self, slices: Sequence[Slice]) -> Logits:
        """Logits of the wanted places, in order."""


@dataclass(eq=False)
class _Seat:
    row: Row
    loan: Loan
    past: int


class ContinuousBatch:
    """One thread that steps as long as there are rows; its user may be many threads.

    Args:
        kept_blocks: blocks of the cache that stay filled for later rows that begin alike; 0 keeps none.
    """

    def __init__(self, steps: Steps, kept_blocks: int = 0) -> None:
        self._steps: Steps | None = steps
        self._block_count = steps.block_count
        self._changed = threading.Condition()
        self._waiting: deque[Row] = deque()
        self._seats: list[_Seat] = []
        self._blocks = CacheBlocks(self._block_count, kept_blocks)
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="continuous-batch", daemon=True)
        self._thread.start()

    def submit(self, rows: Sequence[Row]) -> None:
        """Queue rows, in order; they end through their calls.

        Raises:
            RuntimeError: the batch is closed, or a row is larger than the cache.
        """
        needed = max((count_blocks(row.longest) for row in rows), default=0)
        if needed > self._block_count:
            raise RuntimeError(f"A row needs {needed} blocks of the cache, which has {self._block_count}.")
        with self._changed:
            if self._is_closed:
                raise RuntimeError("The model is unloaded.")
            self._waiting.extend(rows)
            self._changed.notify()

    def close(self) -> None:
        """Fail what is left, and return when no step runs. Idempotent."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()

    def _work(self) -> None:
        assert self._steps is not None
        try:
            while self._admit():
                try:
                    self._step(self._steps)
                except (RuntimeError, ValueError, MemoryError) as error:  # as engines fail: the next step may go well
                    self._fail(error, [seat.row for seat in self._seats])
        finally:  # whatever else may happen, nobody waits for ever
            self._end()

    def _end(self) -> None:
        self._steps = None  # with it goes the memory of the model
        with self._changed:
            self._is_closed = True
            left = [*(seat.row for seat in self._seats), *self._waiting]
        self._fail(RuntimeError("The model is unloaded."), left)

    def _admit(self) -> bool:
        """Seat who fits, in order; waits while there is nobody. False when the batch is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._waiting or self._seats)
            self._waiting = deque(row for row in self._waiting if not row.call.is_abandoned)
            while self._waiting and len(self._seats) < _MAX_ROWS and not self._is_closed:
                row = self._waiting[0]
                loan = self._blocks.lend(row.token_ids, row.longest, _count_sharable(row))
                if loan is None:
                    break
                self._seats.append(_Seat(self._waiting.popleft(), loan, past=loan.shared_tokens))
            return not self._is_closed

    def _step(self, steps: Steps) -> None:
        parts = self._plan()
        logits = steps.run([part for _, part in parts])
        place = 0
        for seat, part in parts:
            own, place = logits[place : place + len(part.wanted)], place + len(part.wanted)
            seat.past += len(part.token_ids)
            self._blocks.note_filled(seat.loan, seat.row.token_ids, seat.past)
            if seat.row.call.is_abandoned or seat.row.take(own):
                self._leave(seat)
                seat.row.call.end_row()

    def _plan(self) -> list[tuple[_Seat, Slice]]:
        """One token of every reply that grows, then prompts, the oldest first, as many tokens as there is room for."""
        room = _STEP_TOKENS
        parts = []
        for seat in sorted(self._seats, key=lambda seat: len(seat.row.token_ids) - seat.past > 1):
            end = min(len(seat.row.token_ids), seat.past + room)
            if end > seat.past:
                wanted = [place - seat.past for place in seat.row.list_wanted(seat.past, end)]
                parts.append((seat, Slice(seat.row.token_ids[seat.past : end], seat.past, seat.loan.blocks, wanted)))
                room -= end - seat.past
        return parts

    def _fail(self, error: BaseException, rows: Sequence[Row]) -> None:
        """End the calls of these rows, with all their rows, seated or not."""
        calls = {id(row.call): row.call for row in rows}
        for seat in [seat for seat in self._seats if id(seat.row.call) in calls]:
            self._leave(seat)
        with self._changed:
            self._waiting = deque(row for row in self._waiting if id(row.call) not in calls)
        for call in calls.values():
            call.fail(error)

    def _leave(self, seat: _Seat) -> None:
        self._seats.remove(seat)
        self._blocks.take_back(seat.loan)


def _count_sharable(row: Row) -> int:
    """Tokens before the first whose logits are wanted; at least one has to be read."""
    read = len(row.token_ids)
    return min(row.list_wanted(0, read), default=read - 1)
