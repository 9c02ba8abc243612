"""Before the hold-out is asked: does the candidate win on the dev split, which costs nothing to ask?

Every question to the hold-out spends some of what it can still decide. A candidate that does not even win on dev would
most likely spend it for nothing, so it is stopped here, and the hold-out never hears of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from data.auc import paired_auc_differences
from data.statistics import cluster_means
from data.vocabulary import Rating, SnapshotRow, Split
from serving.artifact import Artifact, load_artifact
from trainer.answers import Answers, Respondent
from trainer.holdout import Holdout, select_holdout
from trainer.interview import make_fit_check
from trainer.order import RunOrder
from trainer.progress import Progress
from trainer.score_table import LOG_PERPLEXITY, RATING_SCORE, read_scores
from trainer.scoring import KnownTrunk

MIN_ROWS = 10  # of dev references; below it chance would stop good candidates
MIN_RATED_OF_A_KIND = 10  # for the rating AUC to count beside perplexity


@dataclass(frozen=True)
class DevResult:
    """The `dev` event and dev.json.

    Attributes:
        better: whether the hold-out may be asked; true as well where there were too few rows to say.
        skipped: there were too few rows.
        rows: dev rows with a reference reply.
        gain_nats: mean over dev conversations of log p(reference) per token, candidate - production.
        auc_gain: rating AUC on dev, candidate - production; None where there are too few ratings.
    """

    better: bool
    sentence: str
    skipped: bool = False
    rows: int = 0
    gain_nats: float | None = None
    auc_gain: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return asdict(self)


def screen_on_dev(order: RunOrder, rows: Sequence[SnapshotRow], trunk: KnownTrunk | None) -> DevResult:
    """Score the dev rows with candidate and production; nothing is generated.

    The candidate wins when its mean over dev conversations is above production's in perplexity, or in the rating AUC
    where there are ratings: they are the primary metrics that dev can show without any generation.
    """
    fits = make_fit_check(order.base, order.recipe.reply_tokens, is_scored=True)
    dev = select_holdout(rows, order.recipe.max_holdout_rows, Split.DEV, fits)
    if len(dev.references) < MIN_ROWS:
        sentence = f"The dev split has {len(dev.references)} rows with a reference; below {MIN_ROWS} it is not asked."
        return DevResult(True, sentence, skipped=True, rows=len(dev.references))
    if not _has_enough_ratings(dev):
        dev = Holdout(dev.references, [])
    candidate = load_artifact(order.folder / "artifact")
    progress = Progress("dev", 2 * len(dev.references) + 3 * len(dev.rated))
    after, before = (_score(order, artifact, dev, progress, trunk) for artifact in (candidate, order.production))
    base = _score(order, order.base, Holdout([], dev.rated), progress, trunk) if dev.rated else None
    return compare_on_dev(dev, read_scores(after, base), read_scores(before, base))


def compare_on_dev(dev: Holdout, candidate: dict[str, Any], production: dict[str, Any]) -> DevResult:
    """The result, from both models' numbers; the rating AUC counts where the rated rows are not empty."""
    clusters = np.array([row.cluster for row in dev.references], dtype=str)
    gains = cluster_means(
        production[LOG_PERPLEXITY] - candidate[LOG_PERPLEXITY], clusters, candidate["tokens"].astype(float)
    )
    gain, auc_gain = float(gains.mean()), None
    told = [f"{gain:+.4f} nats per token of log-likelihood in {len(gains)} conversations"]
    if dev.rated:
        is_up = np.array([row.rating is Rating.UP for row in dev.rated], dtype=bool)
        rated_clusters = np.array([row.cluster for row in dev.rated], dtype=str)
        shares = paired_auc_differences(candidate[RATING_SCORE], production[RATING_SCORE], is_up, rated_clusters)
        auc_gain = float(shares.mean())
        told.append(f"{auc_gain:+.4f} of rating AUC on {len(dev.rated)} ratings")
    better = gain > 0 or (auc_gain is not None and auc_gain > 0)
    verdict = "wins" if better else "does not win"
    remedy = "" if better else "; the hold-out was not asked. More ratings or another recipe may help"
    sentence = f"On the dev split the candidate {verdict} against production ({', '.join(told)}){remedy}."
    return DevResult(better, sentence, rows=len(dev.references), gain_nats=gain, auc_gain=auc_gain)


def _has_enough_ratings(dev: Holdout) -> bool:
    ups = sum(row.rating is Rating.UP for row in dev.rated)
    return min(ups, len(dev.rated) - ups) >= MIN_RATED_OF_A_KIND


def _score(order: RunOrder, artifact: Artifact, dev: Holdout, progress: Progress, trunk: KnownTrunk | None) -> Answers:
    with Respondent(
        artifact, order.recipe, progress, compute_type=order.compute_type, engine=order.engine, trunk=trunk
    ) as respondent:
        scores = respondent.score([*dev.references, *dev.rated])
    count = len(dev.references)
    return Answers(replies=[], reference_log_probabilities=scores[:count], rated_log_probabilities=scores[count:])
