"""The engine under the chat: tokens in, tokens or log-probabilities out; CTranslate2 on the processor."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

import ctranslate2

FinishReason = Literal["stop", "length", "cancelled", "content_filter"]
OnToken = Callable[[int, int], bool]

_GENERATE_BATCH_ROWS = 32
_SCORE_BATCH_TOKENS = 1024  # bounds the logits: 1024 tokens x 49,152 words x 4 bytes are 200 MB


@dataclass(frozen=True)
class Sampling:
    """How tokens are drawn.

    Attributes:
        max_tokens: longest reply in tokens, at least 1.
        temperature: 0 takes the likeliest token every time.
        top_p: share of the probability mass that is drawn from, above 0 and at most 1.
        top_k: number of tokens that are drawn from; 0 means all.
        stop: texts that end the reply; the engine knows only tokens and leaves them to the scheduler.
    """

    max_tokens: int
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Generation:
    """One generated row, without the end token."""

    token_ids: list[int]
    finish_reason: FinishReason  # "cancelled": the callback ended it


class Engine(Protocol):
    """What the scheduler and the evaluation need of an engine; it may be used from many threads."""

    @property
    def end_id(self) -> int:
        """Id of the token that ends a reply."""

    def generate(
        self, prompts: Sequence[list[str]], sampling: Sampling, on_token: OnToken | None = None
    ) -> list[Generation]:
        """One reply for each prompt, in the order of the prompts.

        `on_token(row, token_id)` gets every token as it comes, the end token too, in a thread of the engine or in
        the caller's; when it returns True the row ends there. The engine forgets `on_token` before this returns.

        Raises:
            RuntimeError: the engine failed, is closed, or a prompt and its reply are longer than the window.
            ValueError: a sampling value that the engine refuses.
        """

    def score(self, prompts: Sequence[list[str]], replies: Sequence[list[str]]) -> list[list[float]]:
        """Natural log-probability of each reply token, given all tokens before it.

        A prompt has at least one token; prompt and reply fit into the window, else RuntimeError.
        """

    def close(self) -> None:
        """Free the memory of the model."""


class CTranslate2Engine:
    """A CTranslate2 model on the processor.

    `inter_threads` batches run side by side, each on `intra_threads` threads.

    Raises:
        RuntimeError, ValueError: the folder or the compute type cannot be used.
    """

    def __init__(
        self, folder: Path, compute_type: str = "float32", *, intra_threads: int = 1, inter_threads: int = 2
    ) -> None:
        self._generator = ctranslate2.Generator(
            str(folder), compute_type=compute_type, intra_threads=intra_threads, inter_threads=inter_threads
        )
        self.parallel_batches = inter_threads
        vocabulary = json.loads((folder / "vocabulary.json").read_text())
        self._end_id: int = vocabulary.index(json.loads((folder / "config.json").read_text())["eos_token"])

    @property
    def end_id(self) -> int:
        """See `Engine`."""
        return self._end_id

    def generate(
        self, prompts: Sequence[list[str]], sampling: Sampling, on_token: OnToken | None = None
    ) -> list[Generation]:
        """See `Engine`. Rows are batched by length, 32 at a time."""
        callback = _TokenCallback(on_token, self._end_id)
        is_greedy = sampling.temperature == 0
        try:
            results = self._generator.generate_batch(
                list(prompts),
                max_batch_size=_GENERATE_BATCH_ROWS,
                max_length=sampling.max_tokens,
                include_prompt_in_result=False,
                sampling_topk=1 if is_greedy else sampling.top_k,
                sampling_topp=1.0 if is_greedy else sampling.top_p,
                sampling_temperature=1.0 if is_greedy else sampling.temperature,
                callback=callback if on_token else None,
            )
        finally:
            callback.detach()
        return [
            _build_generation(result.sequences_ids[0], row in callback.cancelled, sampling.max_tokens)
            for row, result in enumerate(results)
        ]

    def score(self, prompts: Sequence[list[str]], replies: Sequence[list[str]]) -> list[list[float]]:
        """See `Engine`."""
        results = self._generator.score_batch(
            [prompt + reply for prompt, reply in zip(prompts, replies, strict=True)],
            max_batch_size=_SCORE_BATCH_TOKENS,
            batch_type="tokens",
            max_input_length=0,  # the default cuts silently at 1024
        )
        return [
            list(result.log_probs[len(prompt) - 1 :])  # they begin at the second token
            for prompt, result in zip(prompts, results, strict=True)
        ]

    def close(self) -> None:
        """See `Engine`."""
        self._generator.unload_model()


class _TokenCallback:
    """What CTranslate2 calls for each token.

    The engine's threads let go of it some time after `generate` returned. If it then held the last reference to
    the engine (`on_token` usually leads there), a thread would have to join itself, and the process would abort:
    hence `detach`.
    """

    def __init__(self, on_token: OnToken | None, end_id: int) -> None:
        self._on_token = on_token
        self._end_id = end_id
        self.cancelled: set[int] = set()  # rows that `on_token` ended early

    def __call__(self, step: ctranslate2.GenerationStepResult) -> bool:
        """True ends the row; so does every call after `detach`, from a batch beside one that failed."""
        on_token = self._on_token
        must_end = on_token is None or on_token(step.batch_id, step.token_id)
        if must_end and step.token_id != self._end_id:
            self.cancelled.add(step.batch_id)
        return must_end

    def detach(self) -> None:
        """Forget `on_token`."""
        self._on_token = None


def _build_generation(token_ids: list[int], is_cancelled: bool, max_tokens: int) -> Generation:
    if is_cancelled:
        return Generation(token_ids, "cancelled")
    return Generation(token_ids, "length" if len(token_ids) == max_tokens else "stop")


def seed_engine(seed: int) -> None:
    """Seed the sampling of engines that are loaded after this call; one that has sampled keeps its state.

    Sampled replies repeat only with `inter_threads=1`: otherwise it is open which thread takes a batch.
    """
    ctranslate2.set_random_seed(seed)
