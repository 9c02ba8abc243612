"""One artifact and what it answers: replies of the engine that will serve it, and log-probabilities of given ones.

Replies are always the engine's own. Log-probabilities of given replies come through the kept trunk where that gives the
engine's numbers (`trainer/scoring.py`): the same in float32, at a fifth of the processor time once the trunk is known.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from data.overlap import check_reference_hidden
from data.recipe import Recipe
from data.vocabulary import Message, PoolRow
from serving.artifact import Artifact
from serving.engine import Engine, Sampling, seed_engine
from serving.engines import EngineChoice, choose_engine, open_engine, resolve_compute_type
from serving.errors import PromptTooLong
from serving.prompt import PromptRenderer
from trainer.holdout import Holdout, list_texts
from trainer.progress import Progress
from trainer.scoring import TOLERANCE_NATS, KnownTrunk, Text, TrunkScorer, shares_trunk

CHUNK_ROWS = 32  # rows generated together
LOG_PROBABILITY_FLOOR = -20.0  # nats; one absurd token must not decide a mean
SAMPLED_TEXTS = 8  # of each artifact, scored by the engine as well before the trunk is believed
SAMPLING_TEMPERATURE = 0.8  # of fresh replies where there are several to a prompt

Score = Callable[[list[list[str]], list[list[str]]], Sequence[Sequence[float] | NDArray[np.float64]]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """What one model makes of the hold-out; every list follows the order of the rows."""

    replies: list[str]  # greedy replies to the reference rows
    reference_log_probabilities: list[NDArray[np.float64]]  # nats, one for each token of the reference reply
    rated_log_probabilities: list[NDArray[np.float64]]  # the same for rated replies
    is_scored_through_trunk: bool = False  # else by the engine


class Respondent:
    """One artifact that is asked; its engine is loaded at the first question and closed with the context.

    Args:
        compute_type: of the engine, as it will serve; `auto` is what the artifact's manifest says.
        engine: what will serve.
        trunk: what the run keeps of the base's lower blocks; used for an artifact that shares them, in float32 only.
    """

    def __init__(
        self,
        artifact: Artifact,
        recipe: Recipe,
        progress: Progress,
        *,
        compute_type: str = "float32",
        engine: EngineChoice = "auto",
        trunk: KnownTrunk | None = None,
    ) -> None:
        self._artifact, self._recipe, self._progress = artifact, recipe, progress
        self._compute_type = compute_type = resolve_compute_type(artifact, compute_type, engine)
        self._name = choose_engine(artifact, engine, compute_type)
        self._trunk = trunk if compute_type == "float32" and trunk and shares_trunk(artifact, trunk) else None
        self._renderer = PromptRenderer(artifact)
        self._engine: Engine | None = None
        self._scorer: TrunkScorer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    @property
    def is_scored_through_trunk(self) -> bool:
        """Whether the last scores came through the trunk."""
        return self._scorer is not None

    def reply(self, chats: Sequence[Sequence[Message]]) -> list[str]:
        """Greedy replies, one to each conversation."""
        return self._generate(self._open(), chats, Sampling(max_tokens=self._recipe.reply_tokens, temperature=0.0))

    def sample(self, chats: Sequence[Sequence[Message]], samples: int) -> list[list[str]]:
        """So many sampled replies to each conversation; the same ones for the same recipe and artifact."""
        self._close()  # an engine takes its seed when it is loaded
        seed_engine(self._recipe.seed)
        sampling = Sampling(max_tokens=self._recipe.reply_tokens, temperature=SAMPLING_TEMPERATURE)
        rounds = [self._generate(self._open(), chats, sampling) for _ in range(samples)]
        self._close()
        return [list(replies) for replies in zip(*rounds, strict=True)]

    def score(self, rows: Sequence[PoolRow]) -> list[NDArray[np.float64]]:
        """Log-probability in nats of each token of the rows' own replies, at least LOG_PROBABILITY_FLOOR."""
        texts = tokenize_rows(self._renderer, rows)
        engine = self._open()
        self._scorer = self._open_scorer(engine, texts) if self._trunk else None
        return _score(self._scorer.score if self._scorer else engine.score, texts, self._progress)

    def _open(self) -> Engine:
        if self._engine is None:
            self._engine = open_engine(
                self._artifact, self._renderer, self._name, self._compute_type, batches=1, seed=self._recipe.seed
            )
        return self._engine

    def _close(self) -> None:
        if self._engine is not None:
            self._engine.close()
        self._engine = None

    def _fit(self, messages: Sequence[Message], reply_tokens: int) -> list[str]:
        return self._renderer.fit(list(messages), self._renderer.window_tokens - reply_tokens).tokens

    def _generate(self, engine: Engine, chats: Sequence[Sequence[Message]], sampling: Sampling) -> list[str]:
        prompts = [self._fit(messages, sampling.max_tokens) for messages in chats]
        replies = [""] * len(prompts)
        for chunk in _chunk_by_length([len(prompt) for prompt in prompts]):
            generations = engine.generate([prompts[index] for index in chunk], sampling)
            for index, generation in zip(chunk, generations, strict=True):
                replies[index] = self._renderer.decode(generation.token_ids).strip()
            self._progress.advance(len(chunk))
        return replies

    def _open_scorer(self, engine: Engine, texts: list[Text]) -> TrunkScorer | None:
        """A scorer through the trunk, if a sample of texts has the engine's scores."""
        if not texts or self._trunk is None:
            return None
        scorer = self._scorer or TrunkScorer(self._artifact, self._trunk)
        scorer.note(texts)
        sample = texts[:: -(-len(texts) // SAMPLED_TEXTS)]
        pairs = zip(_score_texts(scorer.score, sample), _score_texts(engine.score, sample), strict=True)
        difference = max(float(np.abs(ours - theirs).max(initial=0.0)) for ours, theirs in pairs)
        if difference > TOLERANCE_NATS:
            _log.warning(
                "Scores through the trunk differ from the engine's by %.4f nats; the engine scores.", difference
            )
            return None
        return scorer


def check_references(holdout: Holdout) -> None:
    """Nothing, when every reference may be scored. Raises ReferenceGiven when a prompt holds its reference."""
    for row in holdout.references:
        check_reference_hidden(list_texts(row), row.reply)


def tokenize_rows(renderer: PromptRenderer, rows: Sequence[PoolRow]) -> list[Text]:
    """Prompt and reply of each row as tokens that fit into the window together."""
    texts = []
    for row in rows:
        reply = _fit_reply(renderer, row)
        prompt = renderer.fit(list(row.messages), renderer.window_tokens - len(reply)).tokens
        texts.append(Text(row.row_id, prompt, reply))
    return texts


def _score(score: Score, texts: list[Text], progress: Progress) -> list[NDArray[np.float64]]:
    scores = [np.empty(0)] * len(texts)
    for chunk in _chunk_by_length([len(text.prompt) + len(text.reply) for text in texts]):
        for index, values in zip(chunk, _score_texts(score, [texts[index] for index in chunk]), strict=True):
            scores[index] = values
        progress.advance(len(chunk))
    return scores


def _score_texts(score: Score, texts: list[Text]) -> list[NDArray[np.float64]]:
    found = score([text.prompt for text in texts], [text.reply for text in texts])
    return [np.maximum(np.asarray(values, dtype=np.float64), LOG_PROBABILITY_FLOOR) for values in found]


def _chunk_by_length(lengths: list[int]) -> Iterator[list[int]]:
    """Indices in chunks of like length: a batch of mixed lengths is slow in the engine."""
    order = sorted(range(len(lengths)), key=lambda index: lengths[index])
    for start in range(0, len(order), CHUNK_ROWS):
        yield order[start : start + CHUNK_ROWS]


def _fit_reply(renderer: PromptRenderer, row: PoolRow) -> list[str]:
    """Tokens of the reply, cut so that half of the window is left to the prompt."""
    try:
        tokens = renderer.tokenize_reply(list(row.messages), row.reply)
    except PromptTooLong:
        tokens = renderer.tokenize_reply([row.messages[-1]], row.reply)
    return tokens[: renderer.window_tokens // 2]
