"""One training of `benchmarks/training.py`, in a process of its own: reads an order, prints its figures as JSON.

    python -m benchmarks.training_once ORDER.json

`stock` is TRL as its documentation shows it; `ours` is what a run does.
"""

from __future__ import annotations

import contextlib
import json
import math
import resource
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import torch
import transformers.trainer
from datasets import Dataset
from torch import Tensor
from torch.nn.functional import logsigmoid
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    set_seed,
)
from transformers.utils import logging as transformers_logging
from trl.trainer.dpo_config import DPOConfig
from trl.trainer.dpo_trainer import DPOTrainer
from trl.trainer.kto_config import KTOConfig
from trl.trainer.kto_trainer import KTOTrainer
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

from data.recipe import Recipe
from trainer.checkpoints import CHECKPOINTS, open_checkpoints
from trainer.dpo import train_dpo
from trainer.kto import train_kto
from trainer.rows import ROW_IDS
from trainer.supervised import train_supervised
from trainer.trunk import freeze_below, install_trunk, remove_trunk
from trainer.trunk_cache import TrunkCacheOrder, open_store

_STOCK = {"sft": (SFTTrainer, SFTConfig), "kto": (KTOTrainer, KTOConfig), "dpo": (DPOTrainer, DPOConfig)}
_CACHE_BYTES = 8 * 2**30


class EpochClock(TrainerCallback):
    """Notes how long each epoch takes, in any trainer of transformers."""

    epochs_s: ClassVar[list[float]] = []
    _began_s: ClassVar[float] = 0.0

    def on_epoch_begin(self, *_: Any, **__: Any) -> None:
        """Start the clock."""
        EpochClock._began_s = time.perf_counter()

    def on_epoch_end(self, *_: Any, **__: Any) -> None:
        """Stop it."""
        EpochClock.epochs_s.append(time.perf_counter() - EpochClock._began_s)


def main() -> int:
    """Train, measure the loss on rows that were not trained on, print one line of JSON."""
    order = json.loads(Path(sys.argv[1]).read_text())
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    transformers.trainer.DEFAULT_CALLBACKS.append(EpochClock)
    recipe = Recipe(**order["recipe"])
    set_seed(recipe.seed)
    model = _load(order["base"])
    tokenizer = AutoTokenizer.from_pretrained(order["base"])
    train = _train_stock if order["kind"] == "stock" else _train_ours
    started_s = time.perf_counter()
    with contextlib.redirect_stdout(sys.stderr):
        texts = train(order, model, tokenizer, recipe)
    seconds = time.perf_counter() - started_s
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    loss = measure_loss(order["method"], model, _load(order["base"]), tokenizer, order["holdout"], recipe.beta)
    figures = {
        "seconds": seconds,
        "epochs_s": EpochClock.epochs_s,
        "peak_bytes": peak_bytes,
        "holdout_loss": loss,
    } | texts
    print(json.dumps(figures))
    return 0


def _load(folder: str) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    return model


def _train_stock(
    order: dict[str, Any], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe
) -> dict[str, int]:
    trainer_class, config_class = _STOCK[order["method"]]
    freeze_below(model, recipe.trainable)  # sets requires_grad and nothing else
    is_sft = order["method"] == "sft"
    trainer = trainer_class(
        model=model,
        processing_class=tokenizer,
        train_dataset=Dataset.from_list(order["rows"]),
        args=config_class(
            output_dir=str(Path(order["folder"]) / "stock"),
            per_device_train_batch_size=recipe.batch_size,
            num_train_epochs=recipe.sft_epochs if is_sft else recipe.preference_epochs,
            learning_rate=recipe.sft_learning_rate if is_sft else recipe.preference_learning_rate,
            bf16=order["bf16"],
            seed=recipe.seed,
            report_to=[],
            save_strategy="no",
            max_steps=order.get("max_steps", -1),
        ),
    )
    trainer.train()
    return {}


def _train_ours(
    order: dict[str, Any], model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, recipe: Recipe
) -> dict[str, int]:
    """Returns how often the trunk's output for a text was there, and how often it was computed."""
    folder = Path(order["folder"])
    open_checkpoints(folder / CHECKPOINTS, {"run": str(folder)})
    boundary = freeze_below(model, recipe.trainable)
    cache = TrunkCacheOrder(folder=Path(order["cache"]), limit_bytes=_CACHE_BYTES)
    store = open_store(cache, order["base"], boundary, model.dtype) if boundary else None
    trunk = install_trunk(model, boundary, store)
    # Without owners nothing would outlive the run, and a later one would find the cache empty.
    rows = [{**row, ROW_IDS: [f"row-{number}"]} for number, row in enumerate(order["rows"])]
    if order["method"] == "sft":
        train_supervised(model, tokenizer, rows, [], recipe, folder)
    else:
        (train_kto if order["method"] == "kto" else train_dpo)(model, tokenizer, rows, recipe, folder)
    remove_trunk(model, trunk)
    return {"found_texts": store.hits, "computed_texts": store.misses} if store else {}


@torch.no_grad()
def measure_loss(
    method: str,
    model: PreTrainedModel,
    base: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: list[dict[str, Any]],
    beta: float,
) -> float:
    """The method's loss on `rows`, the same arithmetic for both kinds; for KTO with its KL estimate at zero."""
    model.eval()
    base.eval()

    def score(own: PreTrainedModel, row: dict[str, Any], side: str) -> Tensor:
        return _score_reply(own, tokenizer, row["prompt"], row[side])

    losses = []
    for row in rows:
        if method == "sft":
            losses.append(float(-score(model, row, "completion").mean()))
        elif method == "kto":
            lift = beta * float(score(model, row, "completion").sum() - score(base, row, "completion").sum())
            losses.append(1 - 1 / (1 + math.exp(-lift if row["label"] else lift)))
        else:
            lifts = [score(model, row, side).sum() - score(base, row, side).sum() for side in ("chosen", "rejected")]
            losses.append(float(-logsigmoid(beta * (lifts[0] - lifts[1]))))
    return sum(losses) / len(losses)


def _score_reply(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompt: list[dict[str, str]],
    reply: list[dict[str, str]],
) -> Tensor:
    """Log-probability of each reply token."""
    before = str(tokenizer.apply_chat_template(prompt, tokenize=False, add_generation_prompt=True))
    whole = str(tokenizer.apply_chat_template([*prompt, *reply], tokenize=False))
    start = len(tokenizer(before, add_special_tokens=False)["input_ids"])
    ids = torch.tensor([tokenizer(whole, add_special_tokens=False)["input_ids"]])
    log_probabilities = model(input_ids=ids).logits[0, start - 1 : -1].float().log_softmax(-1)
    return log_probabilities.gather(-1, ids[0, start:, None])[:, 0]


if __name__ == "__main__":
    sys.exit(main())
