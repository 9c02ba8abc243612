"""Blocks are lent, shared by rows that begin alike, and emptied when they have been unused the longest."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from serving.cache_blocks import BLOCK_TOKENS, CacheBlocks, Loan
from serving.continuous_batch import ContinuousBatch, Slice
from serving.engine import Sampling
from serving.rows import Call, Logits, ReplyRow, ScoreRow

NO_END = -1
VOCABULARY = 50
Tokens = tuple[int, ...]


def advance(state: int, token_id: int) -> int:
    return (state * 31 + token_id + 1) % 1_000_003


class RememberingSteps:
    """A model that knows what came before only from its cache: the state after each token, in the token's place."""

    def __init__(self, block_count: int) -> None:
        self.block_count = block_count
        self.read_tokens = 0
        self._memory = np.full((block_count, BLOCK_TOKENS), -1)

    def run(self, slices: Sequence[Slice]) -> Logits:
        """See `Steps`."""
        rows = []
        for part in slices:
            state = self._find(part.blocks, part.past - 1)
            for offset, token_id in enumerate(part.token_ids):
                state = advance(state, token_id)
                block, place = divmod(part.past + offset, BLOCK_TOKENS)
                self._memory[part.blocks[block], place] = state
                if offset in part.wanted:
                    rows.append(np.eye(VOCABULARY, dtype=np.float32)[state % VOCABULARY])
            self.read_tokens += len(part.token_ids)
        return np.array(rows, np.float32).reshape(-1, VOCABULARY)

    def _find(self, blocks: Sequence[int], place: int) -> int:
        return 0 if place < 0 else int(self._memory[blocks[place // BLOCK_TOKENS], place % BLOCK_TOKENS])


def reply_without_cache(prompt: Sequence[int], tokens: int) -> list[int]:
    state, reply = 0, []
    for token_id in prompt:
        state = advance(state, token_id)
    for _ in range(tokens):
        reply.append(state % VOCABULARY)
        state = advance(state, reply[-1])
    return reply


def build_row(prompt: Sequence[int], tokens: int) -> ReplyRow:
    return ReplyRow(Call(), prompt, Sampling(tokens), NO_END, np.random.default_rng(0), None, 0)


def ask(batch: ContinuousBatch, prompt: Sequence[int], tokens: int) -> list[int]:
    row = build_row(prompt, tokens)
    batch.submit([row])
    row.call.wait()
    return row.generation.token_ids


def prompts_with_shared_beginnings() -> st.SearchStrategy[list[Tokens]]:
    """Prompts made of few different halves of blocks, so that many begin alike and part anywhere."""
    half = st.sampled_from([tuple([number] * (BLOCK_TOKENS // 2)) for number in range(3)])
    prompt = st.tuples(st.lists(half, min_size=0, max_size=7), st.integers(0, 40)).map(
        lambda parts: (*(token for piece in parts[0] for token in piece), parts[1])
    )
    return st.lists(prompt, min_size=1, max_size=12)


class TestContinuousBatch:
    @settings(max_examples=60, deadline=None)
    @given(prompts_with_shared_beginnings(), st.integers(0, 12), st.integers(6, 20), st.integers(1, 40))
    def test_a_reply_is_that_of_a_model_without_cache(
        self, prompts: list[Tokens], kept: int, block_count: int, tokens: int
    ) -> None:
        batch = ContinuousBatch(RememberingSteps(block_count), kept)
        rows = [build_row(prompt, tokens) for prompt in prompts]
        batch.submit(rows)  # some wait, some sit side by side, some find what others have left
        for row in rows:
            row.call.wait()
        again = [ask(batch, prompt, tokens) for prompt in prompts]
        batch.close()
        expected = [reply_without_cache(prompt, tokens) for prompt in prompts]
        assert [row.generation.token_ids for row in rows] == expected
        assert again == expected

    def test_the_next_turn_reads_only_what_is_new(self) -> None:
        steps = RememberingSteps(64)
        batch = ContinuousBatch(steps, kept_blocks=32)
        first = list(range(40)) * 5
        reply = ask(batch, first, 30)
        before = steps.read_tokens
        second = [*first, *reply, 7, 8, 9]
        assert ask(batch, second, 1) == reply_without_cache(second, 1)
        assert steps.read_tokens - before == len(second) - (len(second) - 4) // BLOCK_TOKENS * BLOCK_TOKENS
        batch.close()

    def test_nothing_is_kept_unless_asked_for(self) -> None:
        steps = RememberingSteps(64)
        batch = ContinuousBatch(steps)
        prompt = list(range(40)) * 5
        for _ in range(2):
            ask(batch, prompt, 1)
        assert steps.read_tokens == 2 * len(prompt)
        batch.close()

    def test_scores_want_what_precedes_them(self) -> None:
        """A kept block may hold the prompt, but none whose scores are asked for."""
        prompt, reply = [1] * (2 * BLOCK_TOKENS), [2] * BLOCK_TOKENS
        batch = ContinuousBatch(RememberingSteps(64), kept_blocks=32)
        scores = []
        for _ in range(2):
            row = ScoreRow(Call(), prompt, reply)
            batch.submit([row])
            row.call.wait()
            scores.append(row.scores)
        batch.close()
        assert len(scores[0]) == len(reply)
        assert scores[0] == scores[1]

    def test_strangers_at_once_share_a_beginning(self) -> None:
        steps = RememberingSteps(128)
        batch = ContinuousBatch(steps, kept_blocks=64)
        system = [3] * (4 * BLOCK_TOKENS)
        ask(batch, system, 1)
        before = steps.read_tokens
        answers: dict[int, list[int]] = {}

        def chat(number: int) -> None:
            answers[number] = ask(batch, [*system, number], 20)

        threads = [threading.Thread(target=chat, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        batch.close()
        assert answers == {number: reply_without_cache([*system, number], 20) for number in range(8)}
        assert steps.read_tokens - before == 8 * 20


class TestCacheBlocks:
    def lend(self, blocks: CacheBlocks, tokens: Sequence[int]) -> Loan:
        loan = blocks.lend(tokens, len(tokens), len(tokens) - 1)
        assert loan is not None
        return loan

    def use(self, blocks: CacheBlocks, tokens: Sequence[int]) -> int:
        """How many tokens of a row that comes and goes were held already."""
        loan = self.lend(blocks, tokens)
        blocks.note_filled(loan, tokens, len(tokens))
        blocks.take_back(loan)
        return loan.shared_tokens

    def test_lends_no_more_than_there_are(self) -> None:
        blocks = CacheBlocks(2, kept=2)
        row = [1] * (2 * BLOCK_TOKENS)
        self.use(blocks, row)
        loan = self.lend(blocks, [2] * BLOCK_TOKENS)  # takes one of those that were kept
        assert blocks.lend(row, len(row), len(row) - 1) is None
        blocks.take_back(loan)
        assert blocks.lend(row, len(row), len(row) - 1) is not None

    def test_the_longest_unused_goes_first_and_ends_go_before_beginnings(self) -> None:
        blocks = CacheBlocks(8, kept=3)
        old, new = [1] * (2 * BLOCK_TOKENS + 1), [2] * (2 * BLOCK_TOKENS + 1)
        assert self.use(blocks, old) == 0
        assert self.use(blocks, new) == 0  # of the four full blocks three may stay
        assert self.use(blocks, new) == 2 * BLOCK_TOKENS
        assert self.use(blocks, old) == BLOCK_TOKENS

    def test_a_block_in_use_is_never_emptied(self) -> None:
        blocks = CacheBlocks(4, kept=1)
        row = [1] * (2 * BLOCK_TOKENS + 1)
        holder = self.lend(blocks, row)
        blocks.note_filled(holder, row, 2 * BLOCK_TOKENS)
        sharer = self.lend(blocks, row)
        assert sharer.blocks[:2] == holder.blocks[:2]
        assert sharer.blocks[2] != holder.blocks[2]
        blocks.take_back(holder)
        assert blocks.lend([2] * BLOCK_TOKENS, 2 * BLOCK_TOKENS, 0) is None  # one is free, two are needed
        blocks.take_back(sharer)

    def test_every_block_comes_back(self) -> None:
        blocks = CacheBlocks(6, kept=2)
        for number in range(50):
            self.use(blocks, [number % 7] * (1 + number % (5 * BLOCK_TOKENS)))
        loan = blocks.lend([99], 6 * BLOCK_TOKENS, 0)
        assert loan is not None
        assert sorted(loan.blocks) == list(range(6))
