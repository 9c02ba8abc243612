"""The same questions to one model after another; what it has answered before comes from the hold-out's cache."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from data.safety_set import SafetyItem
from data.vocabulary import Message, PoolRow
from serving.artifact import Artifact
from serving.engines import choose_engine, resolve_compute_type
from serving.errors import PromptTooLong
from serving.prompt import PromptRenderer
from trainer.answers import Answers, Respondent
from trainer.holdout import Holdout
from trainer.holdout_cache import HoldoutCache, Kept
from trainer.order import RunOrder
from trainer.progress import Progress
from trainer.safety_evaluation import build_message
from trainer.scoring import KnownTrunk

# replies: greedy, to the references' prompts. references, rated: log-probabilities of given replies. fresh: replies to
# the prompts that the reward head judges, as far as `replies` has none. safety: greedy, to the safety set.
Part = Literal["replies", "references", "rated", "fresh", "safety"]
ALL_PARTS: tuple[Part, ...] = ("replies", "references", "rated", "fresh", "safety")


@dataclass(frozen=True)
class Questions:
    """What every model is asked.

    Attributes:
        prompts: rows whose prompt is answered anew for the reward head; none where there is no such head.
        samples: replies to each of them; 1 takes greedy ones.
    """

    holdout: Holdout
    safety: Sequence[SafetyItem] = ()
    prompts: Sequence[PoolRow] = ()
    samples: int = 1

    @property
    def fresh(self) -> list[PoolRow]:
        """The prompts that `replies` does not answer."""
        if self.samples > 1:
            return list(self.prompts)
        answered = {row.row_id for row in self.holdout.references}
        return [row for row in self.prompts if row.row_id not in answered]

    def count(self, part: Part) -> int:
        """Progress steps of a part."""
        match part:
            case "replies" | "references":
                return len(self.holdout.references)
            case "rated":
                return len(self.holdout.rated)
            case "fresh":
                return self.samples * len(self.fresh)
            case "safety":
                return len(self.safety)


class Interview:
    """Asks artifacts; several roles of one artifact are one model and are asked once.

    Attributes:
        taken: parts that came from the cache, of all models.
    """

    def __init__(
        self, order: RunOrder, questions: Questions, progress: Progress, trunk: KnownTrunk | None = None
    ) -> None:
        self.questions, self.taken = questions, 0
        self._order, self._progress, self._trunk = order, progress, trunk
        self._cache = HoldoutCache(order.holdout_cache)
        self._known: dict[tuple[str, Part], Kept] = {}

    def ask(self, artifact: Artifact, parts: Sequence[Part]) -> None:
        """Have the answers of one model to these parts at hand."""
        missing = [part for part in parts if (artifact.digest, part) not in self._known]
        for part in list(missing):
            if (kept := self._cache.find(self._build_key(artifact, part))) is not None:
                self._known[artifact.digest, part] = kept
                self._progress.advance(self.questions.count(part))
                self.taken += 1
                missing.remove(part)
        if not missing:
            return
        with Respondent(
            artifact,
            self._order.recipe,
            self._progress,
            compute_type=self._order.compute_type,
            engine=self._order.engine,
            trunk=self._trunk,
        ) as respondent:
            for part in missing:
                kept = self._answer(respondent, part)
                self._known[artifact.digest, part] = kept
                self._cache.keep(self._build_key(artifact, part), kept)

    def get_answers(self, artifact: Artifact) -> Answers:
        """Replies and log-probabilities; empty where they were not asked."""
        replies, references, rated = (
            self._known.get((artifact.digest, part), Kept()) for part in ("replies", "references", "rated")
        )
        return Answers(
            replies=list(replies.texts),
            reference_log_probabilities=[values.astype(np.float64) for values in references.arrays],
            rated_log_probabilities=[values.astype(np.float64) for values in rated.arrays],
            is_scored_through_trunk="trunk" in references.texts or "trunk" in rated.texts,
        )

    def get_fresh(self, artifact: Artifact) -> list[list[str]]:
        """The replies to each of the prompts."""
        kept, samples = self._known[artifact.digest, "fresh"].texts, self.questions.samples
        fresh = {
            row.row_id: list(kept[samples * index : samples * (index + 1)])
            for index, row in enumerate(self.questions.fresh)
        }
        if samples == 1:
            replies = self._known[artifact.digest, "replies"].texts
            greedy = zip(self.questions.holdout.references, replies, strict=True)
            fresh |= {row.row_id: [reply] for row, reply in greedy}
        return [fresh[row.row_id] for row in self.questions.prompts]

    def get_safety(self, artifact: Artifact) -> list[str]:
        """The replies to the safety set."""
        return list(self._known[artifact.digest, "safety"].texts)

    def _answer(self, respondent: Respondent, part: Part) -> Kept:
        holdout, samples = self.questions.holdout, self.questions.samples
        match part:
            case "replies":
                return Kept(respondent.reply([row.messages for row in holdout.references]))
            case "safety":
                return Kept(respondent.reply([build_message(item) for item in self.questions.safety]))
            case "fresh" if samples == 1:
                return Kept(respondent.reply([row.messages for row in self.questions.fresh]))
            case "fresh":
                replies = respondent.sample([row.messages for row in self.questions.fresh], samples)
                return Kept([reply for several in replies for reply in several])
            case _:
                scores = respondent.score(holdout.references if part == "references" else holdout.rated)
                return Kept(["trunk" if respondent.is_scored_through_trunk else "engine"], scores)

    def _build_key(self, artifact: Artifact, part: Part) -> dict[str, str | int]:
        """All that the answers follow from."""
        recipe, questions, engine = self._order.recipe, self.questions, self._order.engine
        compute_type = resolve_compute_type(artifact, self._order.compute_type, engine)
        key: dict[str, str | int] = {
            "part": part,
            "artifact": artifact.digest,
            "compute_type": compute_type,
            "engine": choose_engine(artifact, engine, compute_type),
        }
        match part:
            case "references" | "rated":
                asked = questions.holdout.references if part == "references" else questions.holdout.rated
                return key | {"questions": digest_rows(asked, with_replies=True)}
            case "safety":
                asked_texts = digest_texts(item.text for item in questions.safety)
                return key | {"questions": asked_texts, "reply_tokens": recipe.reply_tokens}
            case "replies":
                asked_rows = digest_rows(questions.holdout.references)
                return key | {"questions": asked_rows, "reply_tokens": recipe.reply_tokens}
        sampling = {"samples": questions.samples, "seed": recipe.seed if questions.samples > 1 else 0}
        return key | sampling | {"questions": digest_rows(questions.fresh), "reply_tokens": recipe.reply_tokens}


def digest_rows(rows: Iterable[PoolRow], *, with_replies: bool = False) -> str:
    """sha256 over ids and conversations of rows, in order; with the replies where these are what is scored."""
    return digest_texts(
        json.dumps([row.row_id, row.messages, row.reply if with_replies else ""], sort_keys=True) for row in rows
    )


def digest_texts(texts: Iterable[str]) -> str:
    """sha256 over texts, in order."""
    return hashlib.sha256(json.dumps(list(texts)).encode()).hexdigest()


def make_fit_check(
    artifact: Artifact, reply_tokens: int, *, is_scored: bool = False
) -> Callable[[Sequence[Message]], bool]:
    """A function that says whether a last message and a reply to it fit into the model's window.

    Args:
        reply_tokens: longest reply that is generated.
        is_scored: given replies are scored too, which may take half of the window.
    """
    renderer = PromptRenderer(artifact)
    reserved = max(reply_tokens, renderer.window_tokens // 2) if is_scored else reply_tokens

    def fits(messages: Sequence[Message]) -> bool:
        try:
            renderer.fit(list(messages), renderer.window_tokens - reserved)
        except PromptTooLong:
            return False
        return True

    return fits
