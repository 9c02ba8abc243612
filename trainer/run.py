"""One run: load, train, export the artifact that will be served, evaluate that artifact, report."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.utils import logging as transformers_logging

from data.preferences import select_rated, select_supervised
from data.recipe import Recipe, build_recipe
from data.snapshot import load_snapshot
from data.vocabulary import SnapshotRow, Split
from serving.artifact import Artifact, load_artifact
from trainer.errors import TrainingFailed
from trainer.evaluation import (
    Answers,
    Holdout,
    answer_holdout,
    build_score_table,
    count_steps,
    save_score_table,
    select_holdout,
)
from trainer.export import export_artifact
from trainer.preference import train_preference
from trainer.progress import Progress, emit
from trainer.report import save_report, select_samples, summarise_metrics
from trainer.rows import build_rows
from trainer.supervised import train_supervised
from trainer.trunk import freeze_below, install_trunk, remove_trunk


@dataclass(frozen=True)
class RunOrder:
    """run.json: what to train from, what to compare with, and how."""

    folder: Path
    run_id: str
    attempt: int
    base: Artifact
    production: Artifact
    production_version: int
    recipe: Recipe


def load_order(folder: Path) -> RunOrder:
    """Read and verify run.json and the artifacts that it names."""
    values = json.loads((folder / "run.json").read_text())
    return RunOrder(
        folder=folder,
        run_id=values["run_id"],
        attempt=values["attempt"],
        base=load_artifact(Path(values["base"])),
        production=load_artifact(Path(values["production"])),
        production_version=values["production_version"],
        recipe=build_recipe(values["recipe"]),
    )


def run(folder: Path) -> None:
    """Everything from run.json to report.html.

    Raises:
        RatchetError: the inputs are not whole, there is nothing to train on, or the loss is not finite.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    order = load_order(folder)
    rows = load_snapshot(folder / "snapshot")
    dropped: Counter[str] = Counter()
    emit("stage", stage="training")
    started_s = time.monotonic()
    counts = _train(order, rows, dropped)
    trained_s = time.monotonic()
    emit("stage", stage="evaluating", digest=load_artifact(folder / "artifact", verify=False).digest)
    holdout = select_holdout(rows, order.recipe.max_holdout_rows)
    candidate, production = _evaluate(order, holdout)
    seconds = {"training": trained_s - started_s, "evaluating": time.monotonic() - trained_s}
    _report(order, holdout, candidate, production, counts=counts, seconds=seconds, dropped=dropped)


def _train(order: RunOrder, rows: list[SnapshotRow], dropped: Counter[str]) -> dict[str, int]:
    """Train from the base, export to `artifact/`; returns the number of rows used for each phase."""
    recipe = order.recipe
    set_seed(recipe.seed)
    tokenizer = AutoTokenizer.from_pretrained(order.base.folder)
    model = AutoModelForCausalLM.from_pretrained(order.base.folder, dtype=torch.float32, use_safetensors=True)
    supervised = build_rows((r.row for r in select_supervised(rows)), tokenizer, recipe.max_tokens, dropped)
    dev = build_rows(
        (r.row for r in rows if r.split is Split.DEV and r.row.rating != "down"),
        tokenizer,
        recipe.max_tokens,
        Counter(),
    )
    rated = build_rows((r.row for r in select_rated(rows)), tokenizer, recipe.max_tokens, dropped)
    trunk = install_trunk(model, freeze_below(model, recipe.trainable))
    if recipe.sft_epochs and supervised:
        train_supervised(model, tokenizer, supervised, dev, recipe, order.folder)
    if recipe.preference_epochs and rated:
        train_preference(model, tokenizer, rated, recipe, order.folder)
    remove_trunk(model, trunk)
    _check_finite(model)
    _export(order, model, tokenizer)
    return {"supervised": len(supervised), "rated": len(rated), "dev": len(dev)}


def _check_finite(model: PreTrainedModel) -> None:
    if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
        raise TrainingFailed("The weights are no longer finite numbers; lower the learning rate.")


def _export(order: RunOrder, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    export_artifact(
        model,
        tokenizer,
        order.folder / "artifact",
        base_model=order.base.manifest["base_model"],
        base_digest=order.base.digest,
        run_id=order.run_id,
        recipe=order.recipe.to_dict(),
    )


def _evaluate(order: RunOrder, holdout: Holdout) -> tuple[Answers, Answers]:
    """Answers of the exported candidate and of production; the base's are needed for rating scores too."""
    rated_only = Holdout(references=[], rated=holdout.rated)
    needs_base = order.production.digest != order.base.digest
    steps = 2 * count_steps(holdout) + (count_steps(rated_only) if needs_base else 0)
    progress = Progress("evaluating", steps)
    candidate_artifact = load_artifact(order.folder / "artifact")
    candidate = answer_holdout(candidate_artifact, holdout, order.recipe, progress)
    production = answer_holdout(order.production, holdout, order.recipe, progress)
    base = answer_holdout(order.base, rated_only, order.recipe, progress) if needs_base else production
    save_score_table(build_score_table(holdout, candidate, production, base), order.folder / "scores.parquet")
    return candidate, production


def _report(
    order: RunOrder,
    holdout: Holdout,
    candidate: Answers,
    production: Answers,
    *,
    counts: dict[str, int],
    seconds: dict[str, float],
    dropped: Counter[str],
) -> None:
    import pandas as pd

    table = pd.read_parquet(order.folder / "scores.parquet")
    snapshot = json.loads((order.folder / "snapshot" / "manifest.json").read_text())
    report: dict[str, Any] = {
        "run_id": order.run_id,
        "attempt": order.attempt,
        "base_model": order.base.manifest["base_model"],
        "production_version": order.production_version,
        "digest": load_artifact(order.folder / "artifact", verify=False).digest,
        "snapshot_digest": snapshot["digest"],
        "pool_rows": snapshot["pool_rows"],
        "rows": {
            **counts,
            "holdout_references": len(holdout.references),
            "holdout_rated": len(holdout.rated),
        },
        "dropped": {**snapshot["dropped"], **dropped},
        "metrics": summarise_metrics(table, candidate, production),
        "samples": select_samples(holdout, candidate, production),
        "recipe": order.recipe.to_dict(),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }
    words = table[table["metric"] == "reply_words"]
    save_report(
        _without_nan(report),
        order.folder / "metrics.jsonl",
        (words["production"].tolist(), words["candidate"].tolist()),
    )


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN: it becomes null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
