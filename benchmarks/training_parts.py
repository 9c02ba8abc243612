"""What each saving of a training step is worth, alone and together: a supervised step of 8 rows, `last:N`.

    python -m benchmarks.training_parts [--base smollm2-135m] [--blocks 4] [--rounds 3]

Every variant trains the same rows from the same weights; variants take turns, round by round, so that a slow spell of
the machine meets all of them. Rows are of mixed length unless the variant says otherwise. The trunk is warm, as in
every epoch but the first. The loss of the first step shows that the savings change nothing.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import torch
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tests.tiny import SAMPLES
from trainer.base import prepare_base
from trainer.reply_head import add_reply_head
from trainer.trunk import freeze_below, get_blocks, install_trunk

RESULT = Path(__file__).with_name("results") / "training_parts.json"
ROWS = 8
MAX_TOKENS = 192
IGNORED = -100


@dataclass(frozen=True)
class Batch:
    """ROWS sequences, padded on the right."""

    input_ids: Tensor  # ROWS × T
    attention_mask: Tensor
    labels: Tensor  # -100 where nothing is learned
    tokens: int  # without padding


@dataclass(frozen=True)
class Variant:
    """Which savings are on."""

    name: str
    trunk: bool = False
    reply_head: bool = False
    alike: bool = False  # rows of like length
    checkpointing: bool = False  # of activations; no saving of time
    is_compiled: bool = False
    threads: int = 2


VARIANTS = (
    Variant("nothing saved"),
    Variant("gradient checkpointing, as TRL's default", checkpointing=True),
    Variant("head on reply tokens only", reply_head=True),
    Variant("rows of like length", alike=True),
    Variant("kept trunk", trunk=True),
    Variant("kept trunk, reply head", trunk=True, reply_head=True),
    Variant("kept trunk, reply head, like length (what a run does)", trunk=True, reply_head=True, alike=True),
    Variant("the same on one thread", trunk=True, reply_head=True, alike=True, threads=1),
    Variant("the same, torch.compile of the top blocks", trunk=True, reply_head=True, alike=True, is_compiled=True),
)


def main() -> int:
    """Measure, print the table, write it down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2-135m", help="a base model, or a folder that holds one")
    parser.add_argument("--blocks", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="ratchet-parts-") as name:
        folder = Path(name) / "base"
        prepare_base(options.base, folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        mixed, alike = build_batches(tokenizer)
        steps = {
            variant: _build_step(variant, folder, options.blocks, alike if variant.alike else mixed)
            for variant in VARIANTS
        }
        losses = {variant: step() for variant, step in steps.items()}  # warms up, fills the trunk, compiles
        seconds: dict[Variant, list[float]] = {variant: [] for variant in VARIANTS}
        for _ in range(options.rounds):
            for variant, step in steps.items():
                torch.set_num_threads(variant.threads)
                started_s = time.perf_counter()
                step()
                seconds[variant].append(time.perf_counter() - started_s)
    rows = [_summarise(variant, seconds, losses, alike if variant.alike else mixed) for variant in VARIANTS]
    _save(rows, options.result)
    return 0


def build_batches(tokenizer: PreTrainedTokenizerBase) -> tuple[Batch, Batch]:
    """Rows of mixed length, short to long, and rows of like length around the middle one."""
    table = pd.read_csv(SAMPLES / "support.csv")
    texts = []
    for context, response in table[["Context", "Response"]].dropna().itertuples(index=False):
        prompt = tokenizer.apply_chat_template(
            [{"role": "user", "content": context}], tokenize=True, add_generation_prompt=True, return_dict=False
        )
        reply = tokenizer(response, add_special_tokens=False)["input_ids"]
        texts.append((prompt, reply))
    texts = sorted(
        (text for text in texts if len(text[0]) + len(text[1]) <= MAX_TOKENS), key=lambda t: len(t[0] + t[1])
    )
    step, middle = len(texts) // ROWS, len(texts) // 2 - ROWS // 2
    return _pad(texts[step // 2 :: step][:ROWS]), _pad(texts[middle : middle + ROWS])


def _pad(texts: list[tuple[list[int], list[int]]]) -> Batch:
    longest = max(len(prompt) + len(reply) for prompt, reply in texts)
    ids = torch.zeros(len(texts), longest, dtype=torch.long)
    mask, labels = torch.zeros_like(ids), torch.full_like(ids, IGNORED)
    for row, (prompt, reply) in enumerate(texts):
        end = len(prompt) + len(reply)
        ids[row, :end] = torch.tensor(prompt + reply)
        mask[row, :end] = 1
        labels[row, len(prompt) : end] = torch.tensor(reply)
    return Batch(ids, mask, labels, int(mask.sum()))


def _build_step(variant: Variant, folder: Path, blocks: int, batch: Batch) -> Callable[[], float]:
    """One optimiser step on the batch; returns the loss before it."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, use_safetensors=True)
    model.train()
    boundary = freeze_below(model, f"last:{blocks}")
    if variant.checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if variant.trunk:
        install_trunk(model, boundary)
    if variant.reply_head:
        add_reply_head(model)
    if variant.is_compiled:
        for block in get_blocks(model)[-blocks:]:  # the trunk looks up rows by their tokens: not to be compiled
            block.compile(dynamic=True)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=1e-4)
    extra: dict[str, Any] = {"fused_lm_head": True} if variant.reply_head else {}

    def step() -> float:
        output = model(
            input_ids=batch.input_ids,
            attention_mask=batch.attention_mask,
            labels=batch.labels,
            use_cache=False,
            **extra,
        )
        output.loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return float(output.loss.detach())

    return step


def _summarise(
    variant: Variant, seconds: dict[Variant, list[float]], losses: dict[Variant, float], batch: Batch
) -> dict[str, Any]:
    plain = seconds[VARIANTS[0]]
    step_s = median(seconds[variant])
    ratios = [theirs / ours for theirs, ours in zip(plain, seconds[variant], strict=True)]
    row = {
        "variant": variant.name,
        "step_s": round(step_s, 3),
        "low_s": round(min(seconds[variant]), 3),
        "high_s": round(max(seconds[variant]), 3),
        "tokens": batch.tokens,
        "padding_share": round(1 - batch.tokens / batch.input_ids.numel(), 3),
        "tokens_per_s": round(batch.tokens / step_s),
        "times_nothing_saved": round(median(ratios), 2),  # for a step; rows of like length hold other tokens
        "first_loss": round(losses[variant], 5),
    }
    print(
        f"{row['variant']:56} {step_s:7.3f} s ({row['low_s']} to {row['high_s']})  {row['tokens_per_s']:5} tokens/s"
        f"  {row['times_nothing_saved']:5.2f} x  loss {row['first_loss']}",
        flush=True,
    )
    return row


def _save(rows: list[dict[str, Any]], path: Path) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "machine": f"{os.cpu_count()} processors, {platform.machine()}",
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "commit": commit.stdout.strip(),
        "command": " ".join(["python -m benchmarks.training_parts", *sys.argv[1:]]),
        "rows": rows,
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
