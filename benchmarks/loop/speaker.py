"""An artifact that answers and scores, through the engine that serves, without anything around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from data.vocabulary import Message, PoolRow
from serving.artifact import load_artifact
from serving.engine import Sampling, seed_engine
from serving.engines import choose_engine, open_engine, resolve_compute_type
from serving.prompt import PromptRenderer
from settings import Settings
from worker.trainer_process import count_cores

TEMPERATURE = 0.8


class Speaker:
    """One version, in the compute type that the settings serve; the same seed gives the same replies."""

    def __init__(self, folder: Path, reply_tokens: int, seed: int = 0) -> None:
        artifact = load_artifact(folder, verify=False)
        self._renderer = PromptRenderer(artifact)
        self._reply_tokens = reply_tokens
        seed_engine(seed)  # CTranslate2's; the other takes its own below
        compute_type = resolve_compute_type(artifact, Settings().compute_type)
        engine = choose_engine(artifact, "auto", compute_type)
        self._engine = open_engine(
            artifact, self._renderer, engine, compute_type, threads=count_cores(), batches=1, seed=seed
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._engine.close()

    def reply(self, contexts: Sequence[str], temperature: float = TEMPERATURE) -> list[str]:
        """One reply to each context."""
        prompts = [self._fit([Message(role="user", content=context)]) for context in contexts]
        generations = self._engine.generate(prompts, Sampling(self._reply_tokens, temperature))
        return [self._renderer.decode(generation.token_ids).strip() for generation in generations]

    def measure_log_perplexity(self, rows: Sequence[PoolRow]) -> list[float]:
        """Mean -log p of the tokens of each row's reply, in nats; at most half of the window is scored."""
        prompts, replies = [], []
        for row in rows:
            tokens = self._renderer.tokenize_reply(list(row.messages), row.reply)
            replies.append(tokens[: self._renderer.window_tokens // 2])
            fitted = self._renderer.fit(list(row.messages), self._renderer.window_tokens - len(replies[-1]))
            prompts.append(fitted.tokens)
        return [-sum(scores) / len(scores) for scores in self._engine.score(prompts, replies)]

    def _fit(self, messages: list[Message]) -> list[str]:
        return self._renderer.fit(messages, self._renderer.window_tokens - self._reply_tokens).tokens
