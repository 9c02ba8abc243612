"""The engine on OpenVINO: one compiled model, one cache, and a batch that anyone joins at any step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from serving.continuous_batch import ContinuousBatch
from serving.engine import Generation, OnToken, Sampling
from serving.openvino_graph import StepGraph
from serving.rows import Call, ReplyRow, ScoreRow, check_sampling


class OpenVINOEngine:
    """See `Engine`; requests of different threads share decoder steps, so nobody needs to batch them before.

    Sampled replies repeat for the same seed when the same prompts are asked in the same order.

    Raises:
        RuntimeError: the folder holds no model that can be loaded.
    """

    def __init__(
        self,
        folder: Path,
        end_id: int,
        window_tokens: int,
        list_ids: Callable[[Sequence[str]], list[int]],
        compute_type: str = "float32",
        *,
        threads: int = 2,
        seed: int | None = None,
        prefix_cache_bytes: int = 0,
    ) -> None:
        """Load it.

        Args:
            folder: the artifact's.
            list_ids: ids of tokens, as `PromptRenderer` tells them.
            compute_type: float32, int8 or bfloat16; see `StepGraph`.
            prefix_cache_bytes: how much of the cache may stay filled for prompts that begin like earlier ones.
        """
        self._end_id = end_id
        self._window_tokens = window_tokens
        self._list_ids = list_ids
        self._seeds = np.random.SeedSequence(seed)
        graph = StepGraph(folder, window_tokens, threads, compute_type)
        self._batch = ContinuousBatch(graph, kept_blocks=prefix_cache_bytes // graph.block_bytes)

    @property
    def end_id(self) -> int:
        """See `Engine`."""
        return self._end_id

    def generate(
        self, prompts: Sequence[list[str]], sampling: Sampling, on_token: OnToken | None = None
    ) -> list[Generation]:
        """See `Engine`."""
        check_sampling(sampling)
        call = Call()
        rows = [
            ReplyRow(
                call, self._list_ids(prompt), sampling, self._end_id, np.random.default_rng(seed), on_token, number
            )
            for number, (prompt, seed) in enumerate(zip(prompts, self._seeds.spawn(len(prompts)), strict=True))
        ]
        self._run(call, rows)
        return [row.generation for row in rows]

    def score(self, prompts: Sequence[list[str]], replies: Sequence[list[str]]) -> list[list[float]]:
        """See `Engine`."""
        call = Call()
        rows = [
            ScoreRow(call, self._list_ids(prompt), self._list_ids(reply))
            for prompt, reply in zip(prompts, replies, strict=True)
        ]
        self._run(call, rows)
        return [row.scores for row in rows]

    def close(self) -> None:
        """See `Engine`."""
        self._batch.close()

    def _run(self, call: Call, rows: Sequence[ReplyRow] | Sequence[ScoreRow]) -> None:
        longest = max((row.longest for row in rows), default=0)
        if longest > self._window_tokens:
            raise RuntimeError(f"A prompt and its reply have {longest} tokens; the window has {self._window_tokens}.")
        if not all(row.token_ids for row in rows):
            raise ValueError("A prompt is empty; the model has to read at least one token.")
        if rows:
            self._batch.submit(rows)
            call.wait()
