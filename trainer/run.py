"""One run: load, train, export the artifact that will be served, evaluate that artifact, report."""

from __future__ import annotations

import copy
import json
import math
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    set_seed,
)
from transformers.utils import logging as transformers_logging

from data.methods import MethodChoice
from data.recipe import Recipe, build_recipe
from data.snapshot import load_snapshot
from data.vocabulary import SnapshotRow, Split
from serving.artifact import Artifact, load_artifact
from trainer.checkpoints import CHECKPOINTS, open_checkpoints
from trainer.divergence import measure_kl
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
from trainer.export import export_artifact, list_library_versions
from trainer.funnel import build_funnel
from trainer.lora import ADAPTER_FOLDER, Trainable, add_adapters, find_rank, merge_adapters
from trainer.precision import describe_precision
from trainer.processes import count_processes, get_rank
from trainer.progress import Progress, emit
from trainer.report import Texts, save_report, select_samples, summarise_metrics
from trainer.resumption import list_stage_facts
from trainer.scoring import KnownTrunk
from trainer.stages import Training, build_sets, run_stages
from trainer.trunk import FrozenTrunk, freeze_below, install_trunk, remove_trunk
from trainer.trunk_cache import TrunkCacheOrder, open_store


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
    threads: int = 0  # processor threads of all processes together; 0: as many as torch takes
    trunk_cache: TrunkCacheOrder | None = None  # None: the trunk remembers in memory, for this run only
    compute_type: str = "float32"  # of the engine that will serve


@dataclass(frozen=True)
class Trained:
    """What training tells the report: the method and why, the rows used, and what its stages found."""

    choice: MethodChoice
    counts: dict[str, int]
    facts: dict[str, Any]
    trunk: KnownTrunk | None  # None where no block is frozen


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
        threads=values.get("threads", 0),
        trunk_cache=_load_cache_order(values.get("trunk_cache")),
        compute_type=values.get("compute_type", "float32"),
    )


def _load_cache_order(values: dict[str, Any] | None) -> TrunkCacheOrder | None:
    return TrunkCacheOrder(folder=Path(values["folder"]), limit_bytes=values["limit_bytes"]) if values else None


def run(folder: Path) -> None:
    """Everything from run.json to report.html.

    Raises:
        RatchetError: the inputs are not whole, there is nothing to train on, or the loss is not finite.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    order = load_order(folder)
    if order.threads:
        torch.set_num_threads(max(1, order.threads // count_processes()))
    rows = load_snapshot(folder / "snapshot")
    _open_checkpoints(order)
    dropped: Counter[str] = Counter()
    emit("stage", stage="training")
    started_s = time.monotonic()
    trained = _train(order, rows, dropped)
    if trained is None:
        return
    trained_s = time.monotonic()
    emit("stage", stage="evaluating", digest=load_artifact(folder / "artifact", verify=False).digest)
    holdout = select_holdout(rows, order.recipe.max_holdout_rows)
    candidate, production = _evaluate(order, holdout, trained.trunk)
    seconds = {"training": trained_s - started_s, "evaluating": time.monotonic() - trained_s}
    contexts = [item.row.context for item in rows if item.split is Split.TRAIN]
    _report(order, holdout, candidate, production, trained=trained, seconds=seconds, dropped=dropped, contexts=contexts)
    shutil.rmtree(folder / CHECKPOINTS)
    if trained.trunk:
        emit("trunk_cache", **trained.trunk.store.summarise())
        trained.trunk.store.close()


def _open_checkpoints(order: RunOrder) -> None:
    """Go on from the checkpoints of an earlier attempt only where nothing that decides the weights has changed."""
    if get_rank() == 0:
        snapshot = json.loads((order.folder / "snapshot" / "manifest.json").read_text())
        identity = {
            "run_id": order.run_id,
            "recipe": order.recipe.to_dict(),
            "snapshot": snapshot["digest"],
            "base": order.base.digest,
            "libraries": list_library_versions(),
        }
        open_checkpoints(order.folder / CHECKPOINTS, identity)
    PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


def _train(order: RunOrder, rows: list[SnapshotRow], dropped: Counter[str]) -> Trained | None:
    """Train from the base and export to `artifact/`; None in all processes but the main one."""
    recipe = order.recipe
    set_seed(recipe.seed)
    tokenizer = AutoTokenizer.from_pretrained(order.base.folder)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(
        order.base.folder, dtype=torch.float32, use_safetensors=True
    )
    sets = build_sets(rows, tokenizer, recipe, dropped)
    trained, trunk = _make_trainable(order, model)
    training = Training(
        model=trained, tokenizer=tokenizer, base=order.base.folder, sets=sets, recipe=recipe, folder=order.folder
    )
    configs = copy.deepcopy((model.config, model.generation_config))
    facts = run_stages(training)
    if get_rank() > 0:
        return None
    facts["stages"] = list_stage_facts(order.folder)
    remove_trunk(model, trunk)
    adapter = order.folder / ADAPTER_FOLDER if find_rank(recipe.trainable) else None
    model = merge_adapters(trained, adapter)
    model.config, model.generation_config = configs  # trainers change them, and a stage that is skipped does not
    _check_finite(model)
    facts["precision"] = describe_precision(model, tokenizer, sets.dev or sets.supervised, recipe)
    _export(order, model, tokenizer, adapter)
    facts["kl_to_base"] = measure_kl(model, order.base.folder, tokenizer, rows, recipe)
    known = KnownTrunk(order.base, len(trunk.blocks), trunk.store) if trunk else None
    return Trained(choice=sets.choice, counts=sets.count(), facts=facts, trunk=known)


def _make_trainable(order: RunOrder, model: PreTrainedModel) -> tuple[Trainable, FrozenTrunk | None]:
    """Give gradients to what the recipe trains; the model with its adapters or its trunk, and the trunk."""
    rank = find_rank(order.recipe.trainable)
    if rank is not None:
        return add_adapters(model, rank), None
    boundary = freeze_below(model, order.recipe.trainable)
    store = open_store(order.trunk_cache, order.base.digest, boundary, model.dtype) if boundary else None
    return model, install_trunk(model, boundary, store)


def _check_finite(model: PreTrainedModel) -> None:
    if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
        raise TrainingFailed("The weights are no longer finite numbers; lower the learning rate.")


def _export(order: RunOrder, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, adapter: Path | None) -> None:
    export_artifact(
        model,
        tokenizer,
        order.folder / "artifact",
        base_model=order.base.manifest["base_model"],
        base_digest=order.base.digest,
        run_id=order.run_id,
        recipe=order.recipe.to_dict(),
        adapter=adapter,
    )


def _evaluate(order: RunOrder, holdout: Holdout, trunk: KnownTrunk | None) -> tuple[Answers, Answers]:
    """Answers of the exported candidate and of production; the base's are needed for rating scores too."""
    rated_only = Holdout(references=[], rated=holdout.rated)
    needs_base = order.production.digest != order.base.digest
    steps = 2 * count_steps(holdout) + (count_steps(rated_only) if needs_base else 0)
    progress = Progress("evaluating", steps)
    candidate_artifact = load_artifact(order.folder / "artifact")
    answer = partial(
        answer_holdout, recipe=order.recipe, progress=progress, compute_type=order.compute_type, trunk=trunk
    )
    candidate = answer(candidate_artifact, holdout)
    production = answer(order.production, holdout)
    base = answer(order.base, rated_only) if needs_base else production
    save_score_table(build_score_table(holdout, candidate, production, base), order.folder / "scores.parquet")
    return candidate, production


def _report(
    order: RunOrder,
    holdout: Holdout,
    candidate: Answers,
    production: Answers,
    *,
    trained: Trained,
    seconds: dict[str, float],
    dropped: Counter[str],
    contexts: list[str],
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
            **trained.counts,
            "holdout_references": len(holdout.references),
            "holdout_rated": len(holdout.rated),
        },
        "dropped": {**snapshot["dropped"], **dropped},
        "funnel": build_funnel(snapshot, dropped),
        "bias": snapshot.get("bias"),
        "metrics": summarise_metrics(table, candidate, production),
        "samples": select_samples(holdout, candidate, production),
        "method": trained.choice.method.value,
        "method_reason": trained.choice.reason,
        **trained.facts,
        "trunk_cache": trained.trunk.store.summarise() if trained.trunk else None,
        "scored_through_trunk": {
            "candidate": candidate.is_scored_through_trunk,
            "production": production.is_scored_through_trunk,
        },
        "recipe": order.recipe.to_dict(),
        "seconds": {name: round(value, 1) for name, value in seconds.items()},
    }
    words = table[table["metric"] == "reply_words"]
    save_report(
        _without_nan(report),
        order.folder / "metrics.jsonl",
        (words["production"].tolist(), words["candidate"].tolist()),
        Texts(contexts=contexts, before=production.replies, after=candidate.replies),
    )


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN: it becomes null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
