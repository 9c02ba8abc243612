"""Float32 or fewer bits: what a candidate is served in, by what rounding costs it on replies of the dev split.

Fewer bits are bfloat16 on a processor that has instructions for it, which speeds up a busy server and long prompts, and
int8 elsewhere.

Chosen before the hold-out is asked, so that the gate judges the weights that will be served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data.statistics import cluster_means, hall_t_test
from data.vocabulary import PoolRow, SnapshotRow, Split
from serving.artifact import Artifact, load_artifact, reseal_artifact
from serving.engines import AUTO, BFLOAT16, EXACT, ROUNDED, can_round_to_bfloat16, choose_engine
from trainer.answers import Respondent
from trainer.holdout import select_holdout
from trainer.interview import make_fit_check
from trainer.order import RunOrder
from trainer.prescreen import MIN_ROWS
from trainer.progress import Progress
from trainer.scoring import KnownTrunk

_LEVEL = 0.05  # of the test that rounding costs less than the margin
_MOST_ROWS = 100  # of dev; both readings are of one model, so their difference hardly varies


@dataclass(frozen=True)
class ComputeChoice:
    """What the manifest and the report tell.

    Attributes:
        compute_type: float32, or what was tried instead.
        tried: int8 or bfloat16.
        exact_loss, rounded_loss: mean over dev conversations of -log p(reference) in nats per token.
        p: of a loss below the margin; fewer bits want 0.05 or less.
        rows: references that were read.
    """

    compute_type: str
    tried: str
    exact_loss: float
    rounded_loss: float
    p: float
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON-ready values."""
        return asdict(self)


def settle_compute_type(order: RunOrder, rows: Sequence[SnapshotRow], trunk: KnownTrunk | None) -> ComputeChoice | None:
    """Measure the candidate in both and write the choice into its manifest.

    Returns:
        None, and the candidate stays float32, where the order fixes the compute type, where OpenVINO does not answer,
        and where dev has too few rows with a reference.
    """
    candidate = load_artifact(order.folder / "artifact", verify=False)
    if order.compute_type != AUTO or choose_engine(candidate, order.engine, ROUNDED) != "openvino":
        return None
    tried = BFLOAT16 if can_round_to_bfloat16() else ROUNDED
    limit = min(order.recipe.max_holdout_rows or _MOST_ROWS, _MOST_ROWS)
    fits = make_fit_check(order.base, order.recipe.reply_tokens, is_scored=True)
    references = select_holdout(rows, limit, Split.DEV, fits).references
    if len(references) < MIN_ROWS:
        return None
    progress = Progress("compute_type", 2 * len(references))
    exact = _score(order, candidate, EXACT, references, progress, trunk)
    rounded = _score(order, candidate, tried, references, progress, None)
    choice = choose_compute_type(references, exact, rounded, order.recipe.margins.log_perplexity, tried)
    reseal_artifact(order.folder / "artifact", compute_type=choice.compute_type, compute_choice=choice.to_dict())
    return choice


def choose_compute_type(
    references: Sequence[PoolRow],
    exact: Sequence[NDArray[np.float64]],
    rounded: Sequence[NDArray[np.float64]],
    margin: float,
    tried: str,
) -> ComputeChoice:
    """What was tried where it loses less than `margin` nats per token, tested over conversations; else float32.

    `exact` and `rounded` are log-probabilities in nats of each token of each reference, the second in `tried`.
    """
    clusters = np.array([row.cluster for row in references], dtype=str)
    tokens = np.array([len(values) for values in exact], dtype=float)
    before, after = (
        cluster_means(np.array([values.mean() for values in scores]), clusters, tokens) for scores in (exact, rounded)
    )
    p = hall_t_test(after - before, margin)
    return ComputeChoice(
        tried if p <= _LEVEL else EXACT, tried, -float(before.mean()), -float(after.mean()), p, len(references)
    )


def _score(
    order: RunOrder,
    artifact: Artifact,
    compute_type: str,
    references: Sequence[PoolRow],
    progress: Progress,
    trunk: KnownTrunk | None,
) -> list[NDArray[np.float64]]:
    with Respondent(
        artifact, order.recipe, progress, compute_type=compute_type, engine=order.engine, trunk=trunk
    ) as respondent:
        return respondent.score(references)
