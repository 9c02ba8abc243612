"""Fresh replies under the reward head: the features of rated and of fresh replies, and what the head makes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from data.vocabulary import PoolRow, Rating
from serving.artifact import Artifact
from serving.prompt import PromptRenderer
from trainer.answers import tokenize_rows
from trainer.features import BaseFeatures, Standard
from trainer.holdout import Holdout
from trainer.holdout_cache import HoldoutCache, Kept
from trainer.interview import digest_rows
from trainer.order import RunOrder
from trainer.reward_head import (
    FloatArray,
    HeadReport,
    RatedFeatures,
    RewardHead,
    fit_reward_head,
    refit_without,
    refuse_few,
)

LEFT_OUT_RATERS = 50  # those with most rated hold-out rows
_UNDECIDED = 0.5  # what a head that cannot be fitted says of every reply


class FeatureReader:
    """Features of rows' replies by the base, which is loaded when something is not in the cache."""

    def __init__(self, order: RunOrder) -> None:
        self._base, self._cache = order.base, HoldoutCache(order.holdout_cache)
        self._renderer = PromptRenderer(order.base)
        self._features: BaseFeatures | None = None

    def read(self, rows: Sequence[PoolRow]) -> NDArray[np.float32]:
        """rows × features."""
        key: dict[str, str | int] = {
            "part": "features",
            "base": self._base.digest,
            "questions": digest_rows(rows, with_replies=True),
        }
        kept = self._cache.find(key)
        if kept is None:
            self._features = self._features or BaseFeatures(self._base)
            found = self._features.compute(tokenize_rows(self._renderer, rows))
            kept = Kept(arrays=list(found))
            self._cache.keep(key, kept)
        return np.array(kept.arrays, dtype=np.float32)


@dataclass(frozen=True)
class _Judged:
    """One model's fresh replies: standardised features, a line for each reply, and the reply's prompt."""

    features: FloatArray
    samples: int

    def judge(self, head: RewardHead | None, clusters: NDArray[np.str_]) -> FloatArray:
        """P(up) for each prompt, the mean over its replies."""
        if head is None:
            return np.full(len(clusters), _UNDECIDED)
        return head.judge(self.features, np.repeat(clusters, self.samples)).reshape(-1, self.samples).mean(axis=1)


class FreshJudge:
    """A usable reward head together with what it needs to judge replies."""

    def __init__(
        self, reader: FeatureReader, standard: Standard, head: RewardHead, rated: RatedFeatures, rows: list[PoolRow]
    ) -> None:
        self._reader, self._standard, self._head = reader, standard, head
        self._rated, self._rows = rated, rows
        self._judged: dict[str, _Judged] = {}

    def judge(self, artifact: Artifact, prompts: Sequence[PoolRow], replies: Sequence[Sequence[str]]) -> FloatArray:
        """P(up) of a model's fresh replies to each prompt, 0 to 1, the mean over its replies to it."""
        answered = [
            replace(row, reply=reply) for row, several in zip(prompts, replies, strict=True) for reply in several
        ]
        features = self._standard.transform(self._reader.read(answered))
        self._judged[artifact.digest] = _Judged(features, len(answered) // len(prompts))
        return self._judged[artifact.digest].judge(self._head, _list_clusters(prompts))

    def build_leave_one_out(
        self, prompts: Sequence[PoolRow], candidate: Artifact, production: Artifact
    ) -> pd.DataFrame:
        """leave_one_out.parquet: rater, row_id, cluster, candidate, production, by heads without a rater's ratings.

        Both models must have been judged. A head that cannot be fitted without a rater finds no difference.
        """
        raters = Counter(row.rater for row in self._rows if row.rater is not None)
        given = np.array([row.rater or "" for row in self._rows], dtype=object)
        clusters = _list_clusters(prompts)
        tables = []
        for rater, _ in sorted(raters.items(), key=lambda item: (-item[1], item[0]))[:LEFT_OUT_RATERS]:
            head = refit_without(self._rated, given != rater, self._head)
            table = pd.DataFrame(
                {
                    "rater": rater,
                    "row_id": [row.row_id for row in prompts],
                    "cluster": clusters,
                    "candidate": self._judged[candidate.digest].judge(head, clusters),
                    "production": self._judged[production.digest].judge(head, clusters),
                }
            )
            tables.append(table)
        empty = pd.DataFrame(columns=["rater", "row_id", "cluster", "candidate", "production"])
        return pd.concat(tables, ignore_index=True) if tables else empty


def open_judge(order: RunOrder, holdout: Holdout) -> tuple[FreshJudge | None, HeadReport]:
    """A judge fitted on the held-out ratings, None where there must be none, and what head.json says."""
    is_up = np.array([row.rating is Rating.UP for row in holdout.rated], dtype=bool)
    clusters = _list_clusters(holdout.rated)
    if refusal := refuse_few(is_up, clusters):
        return None, refusal
    reader = FeatureReader(order)
    features = reader.read(holdout.rated)
    standard = Standard(features)
    rated = RatedFeatures(standard.transform(features), is_up, clusters)
    head, report = fit_reward_head(rated)
    return FreshJudge(reader, standard, head, rated, holdout.rated) if head else None, report


def _list_clusters(rows: Sequence[PoolRow]) -> NDArray[np.str_]:
    return np.array([row.cluster for row in rows], dtype=str)
