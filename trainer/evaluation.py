"""Evaluation: candidate and production answer the same hold-out through the engine that will serve them.

Replies are always the engine's own. Log-probabilities of given replies come through the kept trunk where that gives the
engine's numbers (`trainer/scoring.py`): the same in float32, at a fifth of the processor time once the trunk is known.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.metrics.chrf import CHRF

from data.overlap import check_reference_hidden, is_reference_given
from data.recipe import Recipe
from data.vocabulary import PoolRow, Rating, RowKind, SnapshotRow, Split
from serving.artifact import Artifact
from serving.engine import CTranslate2Engine, Sampling
from serving.errors import PromptTooLong
from serving.prompt import PromptRenderer
from trainer.progress import Progress
from trainer.scoring import TOLERANCE_NATS, KnownTrunk, Text, TrunkScorer, shares_trunk

CHUNK_ROWS = 32  # rows generated together
LOG_PROBABILITY_FLOOR = -20.0  # nats; one absurd token must not decide a mean
SAMPLED_TEXTS = 8  # of each artifact, scored by the engine as well before the trunk is believed

Score = Callable[[list[list[str]], list[list[str]]], Sequence[Sequence[float] | NDArray[np.float64]]]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answers:
    """What one model makes of the hold-out; every list follows the order of the rows."""

    replies: list[str]  # greedy replies to the reference rows
    reference_log_probabilities: list[NDArray[np.float64]]  # nats, one for each token of the reference reply
    rated_log_probabilities: list[NDArray[np.float64]]  # the same for rated replies
    is_scored_through_trunk: bool = False  # else by the engine


@dataclass(frozen=True)
class Holdout:
    """The rows that an evaluation asks."""

    references: list[PoolRow]  # examples and corrections: what should be said
    rated: list[PoolRow]  # served replies with their rating


def select_holdout(rows: Sequence[SnapshotRow], limit: int) -> Holdout:
    """The hold-out rows of a snapshot, at most `limit` of each kind (0: all), always the same ones.

    Where nobody imported an example, up-rated replies stand in as references. A row whose prompt quotes its reference
    is none: its score would measure copying.
    """
    held_out = sorted((r.row for r in rows if r.split is Split.HOLDOUT), key=lambda row: row.row_id)
    references = [row for row in held_out if row.kind is not RowKind.REPLY and row.rating is not Rating.DOWN]
    rated = [row for row in held_out if row.rating is not None]
    if not references:
        references = [row for row in rated if row.rating is Rating.UP]
    references = [row for row in references if not is_reference_given(_list_texts(row), row.reply)]
    return Holdout(references=references[: limit or None], rated=rated[: limit or None])


def answer_holdout(
    artifact: Artifact,
    holdout: Holdout,
    recipe: Recipe,
    progress: Progress,
    *,
    compute_type: str = "float32",
    trunk: KnownTrunk | None = None,
) -> Answers:
    """Greedy replies and log-probabilities of one artifact, without any sampling.

    Args:
        compute_type: of the engine, as it will serve.
        trunk: what the run keeps of the base's lower blocks; used for an artifact that shares them, in float32 only.

    Raises:
        ReferenceGiven: a prompt holds the reference that its reply would be scored against.
    """
    for row in holdout.references:
        check_reference_hidden(_list_texts(row), row.reply)
    renderer = PromptRenderer(artifact)
    engine = CTranslate2Engine(artifact.engine_folder, compute_type=compute_type, intra_threads=2, inter_threads=1)
    try:
        prompts = [_fit_prompt(renderer, row, recipe.reply_tokens) for row in holdout.references]
        replies = _generate(engine, renderer, prompts, recipe.reply_tokens, progress)
        texts = _tokenize(renderer, [*holdout.references, *holdout.rated])
        scorer = _open_scorer(artifact, engine, texts, trunk) if trunk and compute_type == "float32" else None
        scores = _score(scorer.score if scorer else engine.score, texts, progress)
        return Answers(
            replies=replies,
            reference_log_probabilities=scores[: len(holdout.references)],
            rated_log_probabilities=scores[len(holdout.references) :],
            is_scored_through_trunk=scorer is not None,
        )
    finally:
        engine.close()


def count_steps(holdout: Holdout) -> int:
    """How many progress steps `answer_holdout` makes."""
    return 2 * len(holdout.references) + len(holdout.rated)


def _list_texts(row: PoolRow) -> list[str]:
    return [message["content"] for message in row.messages]


def _fit_prompt(renderer: PromptRenderer, row: PoolRow, reply_tokens: int) -> list[str]:
    return renderer.fit(list(row.messages), renderer.window_tokens - reply_tokens).tokens


def _generate(
    engine: CTranslate2Engine, renderer: PromptRenderer, prompts: list[list[str]], reply_tokens: int, progress: Progress
) -> list[str]:
    sampling = Sampling(max_tokens=reply_tokens, temperature=0.0)
    replies = [""] * len(prompts)
    for chunk in _chunk_by_length([len(prompt) for prompt in prompts]):
        generations = engine.generate([prompts[index] for index in chunk], sampling)
        for index, generation in zip(chunk, generations, strict=True):
            replies[index] = renderer.decode(generation.token_ids).strip()
        progress.advance(len(chunk))
    return replies


def _tokenize(renderer: PromptRenderer, rows: list[PoolRow]) -> list[Text]:
    texts = []
    for row in rows:
        reply = _fit_reply(renderer, row)
        texts.append(Text(row.row_id, _fit_prompt(renderer, row, len(reply)), reply))
    return texts


def _open_scorer(
    artifact: Artifact, engine: CTranslate2Engine, texts: list[Text], trunk: KnownTrunk
) -> TrunkScorer | None:
    """A scorer through the trunk, if the artifact shares it and a sample of texts has the engine's scores."""
    if not texts or not shares_trunk(artifact, trunk):
        return None
    scorer = TrunkScorer(artifact, trunk)
    scorer.note(texts)
    sample = texts[:: -(-len(texts) // SAMPLED_TEXTS)]
    pairs = zip(_score_texts(scorer.score, sample), _score_texts(engine.score, sample), strict=True)
    difference = max(float(np.abs(ours - theirs).max(initial=0.0)) for ours, theirs in pairs)
    if difference > TOLERANCE_NATS:
        _log.warning("Scores through the trunk differ from the engine's by %.4f nats; the engine scores.", difference)
        return None
    return scorer


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


def build_score_table(holdout: Holdout, candidate: Answers, production: Answers, base: Answers) -> pd.DataFrame:
    """One row for each metric and hold-out row, candidate beside production, so that every difference pairs.

    Columns: metric, row_id, cluster, weight, is_up, candidate, production. Units: `log_perplexity` nats per token
    (mean of -log p over the tokens of the reference reply), `rouge_l` F1 from 0 to 1, `bleu` and `chrf` 0 to 100,
    `reply_words` words, `rating_score` nats per token above the base model.
    """
    references = [row.reply for row in holdout.references]
    weights = [float(len(values)) for values in candidate.reference_log_probabilities]
    tables = [
        _build_rows("log_perplexity", holdout.references, *_both(_log_perplexity, candidate, production), weights)
    ]
    measures: dict[str, Callable[[str, str], float]] = {
        "rouge_l": _make_rouge_l(),
        "bleu": _make_bleu(),
        "chrf": _make_chrf(),
        "reply_words": lambda reply, _: float(len(reply.split())),
    }
    for name, measure in measures.items():
        scores = [
            [measure(reply, reference) for reply, reference in zip(answers.replies, references, strict=True)]
            for answers in (candidate, production)
        ]
        tables.append(_build_rows(name, holdout.references, scores[0], scores[1]))
    rated = [_lift_over(answers, base) for answers in (candidate, production)]
    table = _build_rows("rating_score", holdout.rated, rated[0], rated[1])
    table["is_up"] = [row.rating is Rating.UP for row in holdout.rated]
    return pd.concat([*tables, table], ignore_index=True)


def distinct_2(replies: Sequence[str]) -> float:
    """Share of different word pairs among all word pairs of all replies together, 0 to 1 (Li et al. 2016).

    Over all replies, not within each: a model that opens every reply alike must show.
    """
    pairs = [pair for reply in replies for pair in zip(reply.lower().split(), reply.lower().split()[1:], strict=False)]
    return len(set(pairs)) / len(pairs) if pairs else 0.0


def save_score_table(table: pd.DataFrame, path: Path) -> None:
    """Write the table as Parquet."""
    table.to_parquet(path, index=False)


def _both(
    measure: Callable[[Answers], list[float]], first: Answers, second: Answers
) -> tuple[list[float], list[float]]:
    return measure(first), measure(second)


def _log_perplexity(answers: Answers) -> list[float]:
    return [-float(values.mean()) for values in answers.reference_log_probabilities]


def _lift_over(answers: Answers, base: Answers) -> list[float]:
    """Mean log p(token) of each rated reply above the base model's; without that, common text would win."""
    pairs = zip(answers.rated_log_probabilities, base.rated_log_probabilities, strict=True)
    return [float(own.mean() - other.mean()) for own, other in pairs]


def _build_rows(
    metric: str,
    rows: list[PoolRow],
    candidate: list[float],
    production: list[float],
    weights: list[float] | None = None,
) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "metric": metric,
            "row_id": [row.row_id for row in rows],
            "cluster": [row.cluster for row in rows],
            "weight": weights or [1.0] * len(rows),
            "is_up": pd.array([None] * len(rows), dtype="boolean"),
            "candidate": candidate,
            "production": production,
        }
    )


def _make_rouge_l() -> Callable[[str, str], float]:
    scorer = RougeScorer(["rougeL"], use_stemmer=True)
    return lambda reply, reference: float(scorer.score(reference, reply)["rougeL"].fmeasure)


def _make_bleu() -> Callable[[str, str], float]:
    bleu = BLEU(effective_order=True)
    return lambda reply, reference: float(bleu.sentence_score(reply, [reference]).score)


def _make_chrf() -> Callable[[str, str], float]:
    chrf = CHRF()
    return lambda reply, reference: float(chrf.sentence_score(reply, [reference]).score)
