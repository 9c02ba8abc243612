"""Rows share steps within the room there is: tokens of a step, blocks of the cache, seats."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from serving.cache_blocks import BLOCK_TOKENS
from serving.continuous_batch import ContinuousBatch, Slice
from serving.engine import Generation, OnToken, Sampling
from serving.rows import Call, Logits, ReplyRow

GENEROUS_S = 60
END_ID = 0


class CountingSteps:
    """A model whose next token is always the last one plus 1; notes what each step read."""

    def __init__(self, block_count: int) -> None:
        self.block_count = block_count
        self.steps: list[list[Slice]] = []
        self.is_broken = False
        self.gate = threading.Event()
        self.gate.set()

    def run(self, slices: Sequence[Slice]) -> Logits:
        """See `Steps`."""
        assert self.gate.wait(GENEROUS_S)
        if self.is_broken:
            raise RuntimeError("out of memory")
        self.steps.append(list(slices))
        wanted = [part.token_ids[place] + 1 for part in slices for place in part.wanted]
        return np.eye(1000, dtype=np.float32)[wanted]


@pytest.fixture
def steps() -> CountingSteps:
    return CountingSteps(block_count=4)


@pytest.fixture
def batch(steps: CountingSteps) -> Iterator[ContinuousBatch]:
    batch = ContinuousBatch(steps)
    yield batch
    steps.gate.set()
    batch.close()


def build_row(first_id: int, prompt_tokens: int, max_tokens: int, on_token: OnToken | None = None) -> ReplyRow:
    """A row whose prompt counts up to `first_id`, so that its reply goes on from there."""
    prompt = range(first_id - prompt_tokens + 1, first_id + 1)
    return ReplyRow(Call(), prompt, Sampling(max_tokens), END_ID, np.random.default_rng(0), on_token, 0)


def list_reply(first_id: int, tokens: int) -> Generation:
    return Generation(list(range(first_id + 1, first_id + 1 + tokens)), "length")


def count_rows(steps: CountingSteps) -> list[int]:
    return [len(slices) for slices in steps.steps]


class TestSubmit:
    def test_rows_that_fit_share_steps(self, batch: ContinuousBatch, steps: CountingSteps) -> None:
        rows = [build_row(100, 10, 5), build_row(200, 10, 5)]
        batch.submit(rows)
        for row in rows:
            row.call.wait()
        assert [row.generation for row in rows] == [list_reply(100, 5), list_reply(200, 5)]
        assert count_rows(steps) == [2] * 5

    def test_a_later_row_joins_and_a_short_one_leaves(self, batch: ContinuousBatch, steps: CountingSteps) -> None:
        long, short = build_row(100, 10, 20), build_row(200, 10, 2)
        steps.gate.clear()
        batch.submit([long])
        batch.submit([short])
        steps.gate.set()
        long.call.wait()
        short.call.wait()
        assert sorted(count_rows(steps)) == [1] * 18 + [2, 2]

    def test_a_row_waits_until_the_cache_has_room(self, batch: ContinuousBatch, steps: CountingSteps) -> None:
        rows = [build_row(first_id, BLOCK_TOKENS, BLOCK_TOKENS) for first_id in (100, 200, 300)]  # two blocks each
        batch.submit(rows)
        for row in rows:
            row.call.wait()
        assert [row.generation for row in rows] == [list_reply(first_id, BLOCK_TOKENS) for first_id in (100, 200, 300)]
        assert count_rows(steps) == [2] * BLOCK_TOKENS + [1] * BLOCK_TOKENS

    def test_no_two_rows_share_a_block(self, batch: ContinuousBatch, steps: CountingSteps) -> None:
        rows = [build_row(100 + 50 * number, 20, 3 + number) for number in range(8)]
        batch.submit(rows)
        for row in rows:
            row.call.wait()
        for slices in steps.steps:
            blocks = [block for part in slices for block in part.blocks]
            assert len(blocks) == len(set(blocks))

    def test_a_long_prompt_is_read_in_parts_beside_others(self) -> None:
        steps = CountingSteps(block_count=64)
        batch = ContinuousBatch(steps)
        long, short = build_row(900, 600, 2), build_row(100, 10, 30)
        steps.gate.clear()
        batch.submit([short, long])
        steps.gate.set()
        long.call.wait()
        short.call.wait()
        batch.close()
        assert (long.generation, short.generation) == (list_reply(900, 2), list_reply(100, 30))
        assert all(sum(len(part.token_ids) for part in slices) <= 256 for slices in steps.steps)
        assert len(steps.steps) == 30  # nobody's token waited for a step without it

    def test_refuses_a_row_that_never_fits(self, batch: ContinuousBatch) -> None:
        with pytest.raises(RuntimeError, match="5 blocks"):
            batch.submit([build_row(500, 4 * BLOCK_TOKENS, 1)])


class TestAskers:
    """What is done with a token is the asker's, whose thread these tests are."""

    def test_who_is_slow_to_listen_holds_up_nobody(self, batch: ContinuousBatch) -> None:
        heard: list[int] = []

        def hear(_: int, token_id: int) -> bool:
            heard.append(token_id)
            return False

        slow, quick = build_row(100, 10, 5, hear), build_row(200, 10, 5)
        batch.submit([slow, quick])
        quick.call.wait()
        assert not heard
        slow.call.wait()
        assert heard == list_reply(100, 5).token_ids

    def test_a_reply_ends_where_its_asker_said_whatever_came_since(self, batch: ContinuousBatch) -> None:
        row, other = build_row(100, 10, 20, lambda _, token: token == 103), build_row(200, 10, 30)
        batch.submit([row, other])
        other.call.wait()  # by now the batch has made all of the first reply
        row.call.wait()
        assert row.generation == Generation([101, 102, 103], "cancelled")

    def test_who_leaves_by_an_error_gives_up_all_rows(self, batch: ContinuousBatch) -> None:
        def fail(*_: int) -> bool:
            raise KeyError

        failing = build_row(100, 10, 50, fail)
        waiting = ReplyRow(failing.call, range(1, 101), Sampling(28), END_ID, np.random.default_rng(0), fail, 1)
        batch.submit([failing, waiting])
        with pytest.raises(KeyError):
            failing.call.wait()
        later = build_row(200, 100, 28)  # needs the whole cache: the blocks are free again
        batch.submit([later])
        later.call.wait()
        assert later.generation == list_reply(200, 28)


class TestFailure:
    def test_a_broken_step_fails_who_takes_part_and_nobody_after(
        self, batch: ContinuousBatch, steps: CountingSteps
    ) -> None:
        steps.is_broken = True
        row = build_row(100, 10, 5)
        batch.submit([row])
        with pytest.raises(RuntimeError, match="out of memory"):
            row.call.wait()
        steps.is_broken = False
        later = build_row(200, 100, 28)  # needs the whole cache: the blocks are free again
        batch.submit([later])
        later.call.wait()
        assert later.generation == list_reply(200, 28)

    def test_close_fails_who_waits(self, batch: ContinuousBatch, steps: CountingSteps) -> None:
        steps.gate.clear()
        rows = [build_row(100, 10, 50), build_row(200, 100, 28)]
        batch.submit(rows)
        threading.Timer(0.05, steps.gate.set).start()
        batch.close()
        for row in rows:
            with pytest.raises(RuntimeError, match="unloaded"):
                row.call.wait()
        with pytest.raises(RuntimeError, match="unloaded"):
            batch.submit(rows)
