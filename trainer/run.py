"""One run: load, train, export the artifact that will be served, evaluate that artifact, report."""

from __future__ import annotations

import copy
import json
import math
import shutil
import time
from collections import Counter
from dataclasses import asdict, dataclass
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

from data.holdout import check_holdout
from data.methods import MethodChoice
from data.recipe import check_window
from data.snapshot import load_snapshot
from data.vocabulary import SnapshotRow, Split
from serving.artifact import load_artifact
from serving.prompt import PromptRenderer
from trainer.checkpoints import CHECKPOINTS, open_checkpoints
from trainer.compute_choice import settle_compute_type
from trainer.divergence import measure_kl
from trainer.errors import TrainingFailed
from trainer.evaluation import Evaluation, evaluate
from trainer.export import export_artifact, list_library_versions
from trainer.funnel import build_funnel
from trainer.lora import ADAPTER_FOLDER, Trainable, add_adapters, find_rank, merge_adapters
from trainer.order import RunOrder, load_order
from trainer.precision import describe_precision
from trainer.prescreen import screen_on_dev
from trainer.processes import count_processes, get_rank
from trainer.progress import emit
from trainer.report import Texts, save_report
from trainer.resumption import list_stage_facts
from trainer.scoring import KnownTrunk
from trainer.stages import Training, build_sets, run_stages
from trainer.summary import describe_evaluation
from trainer.trunk import FrozenTrunk, freeze_below, install_trunk, remove_trunk
from trainer.trunk_cache import open_store


@dataclass(frozen=True)
class Trained:
    """What training tells the report: the method and why, the rows used, and what its stages found."""

    choice: MethodChoice
    counts: dict[str, int]
    facts: dict[str, Any]
    trunk: KnownTrunk | None  # None where no block is frozen


def run(folder: Path) -> None:
    """Everything from run.json to report.html.

    Raises:
        RatchetError: the inputs are not whole, the recipe does not fit the base model, there is nothing to train on,
            or the loss is not finite.
    """
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    order = load_order(folder)
    check_window(order.recipe, PromptRenderer(order.base).window_tokens)
    if order.threads:
        torch.set_num_threads(max(1, order.threads // count_processes()))
    rows = load_snapshot(folder / "snapshot")
    facts = {"holdout": asdict(check_holdout(rows, _read_manifest(folder).get("holdout_digest")))}
    _open_checkpoints(order)
    dropped: Counter[str] = Counter()
    emit("stage", stage="training")
    started_s = time.monotonic()
    trained = _train(order, rows, dropped)
    if trained is None:
        return
    seconds = {"training": time.monotonic() - started_s}
    choice = settle_compute_type(order, rows, trained.trunk)
    dev = screen_on_dev(order, rows, trained.trunk)
    emit("dev", **dev.to_dict())
    evaluation = None
    if dev.better:
        emit("stage", stage="evaluating", digest=load_artifact(folder / "artifact", verify=False).digest)
        evaluation = evaluate(order, rows, trained.trunk)
    else:
        (folder / "dev.json").write_text(json.dumps(dev.to_dict(), indent=2) + "\n")
    seconds["evaluating"] = time.monotonic() - started_s - seconds["training"]
    if choice:
        facts["compute_choice"] = choice.to_dict()
    facts |= {"dev": dev.to_dict(), "seconds": {name: round(value, 1) for name, value in seconds.items()}}
    contexts = [item.row.context for item in rows if item.split is Split.TRAIN]
    _report(order, trained, evaluation, facts=facts, dropped=dropped, contexts=contexts)
    shutil.rmtree(folder / CHECKPOINTS)
    if trained.trunk:
        emit("trunk_cache", **trained.trunk.store.summarise())
        trained.trunk.store.close()


def _read_manifest(folder: Path) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((folder / "snapshot" / "manifest.json").read_text())
    return manifest


def _open_checkpoints(order: RunOrder) -> None:
    """Go on from the checkpoints of an earlier attempt only where nothing that decides the weights has changed."""
    if get_rank() == 0:
        identity = {
            "run_id": order.run_id,
            "recipe": order.recipe.to_dict(),
            "snapshot": _read_manifest(order.folder)["digest"],
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


def _report(
    order: RunOrder,
    trained: Trained,
    evaluation: Evaluation | None,
    *,
    facts: dict[str, Any],
    dropped: Counter[str],
    contexts: list[str],
) -> None:
    """Write the report; without an evaluation it tells of the training alone, and why the hold-out was not asked."""
    snapshot = _read_manifest(order.folder)
    if evaluation and evaluation.holdout.too_long:
        dropped["holdout_too_long"] = evaluation.holdout.too_long
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
            "holdout_references": len(evaluation.holdout.references) if evaluation else 0,
            "holdout_rated": len(evaluation.holdout.rated) if evaluation else 0,
        },
        "dropped": {**snapshot["dropped"], **dropped},
        "funnel": build_funnel(snapshot, dropped),
        "bias": snapshot.get("bias"),
        "method": trained.choice.method.value,
        "method_reason": trained.choice.reason,
        **trained.facts,
        "trunk_cache": trained.trunk.store.summarise() if trained.trunk else None,
        "recipe": order.recipe.to_dict(),
        **facts,
        **(describe_evaluation(evaluation, order.recipe.margins) if evaluation else {"metrics": {}, "samples": []}),
    }
    replies = (evaluation.production.replies, evaluation.candidate.replies) if evaluation else ([], [])
    save_report(_without_nan(report), order.folder / "metrics.jsonl", Texts(contexts, *replies))


def _without_nan(value: Any) -> Any:
    """JSON knows no NaN: it becomes null."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
