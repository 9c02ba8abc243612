"""Training against stock TRL: same machine, model, rows, seed and trainable set, one after the other.

    python -m benchmarks.training [--base smollm2-135m] [--rows 96] [--epochs 2] [--rounds 1] [--cells kto:last:4 ...]

For each cell (method and trainable set) and round: stock TRL as its documentation shows it (gradient checkpointing on,
padded, live reference; bfloat16 where the processor has it, else float32, for which it would be a straw man), then
ours with an empty trunk cache (a first run), then ours again (a later run). Whole-run times are from the loaded model
to the trained one. The hold-out loss is the same arithmetic for all three, on rows that none has seen.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import pandas as pd
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from benchmarks.roofline import LinearWeights, count_epoch_flops, count_linear_weights, measure_matrix_product_gflops
from trainer.arguments import has_fast_bfloat16
from trainer.base import prepare_base
from trainer.rows import count_tokens

SOURCE = Path(__file__).parents[2] / "shared" / "data" / "counsel_chat" / "counsel_chat_2020_scrape.csv.gz"
RESULT = Path(__file__).with_name("results") / "train.json"
CELLS = ("kto:last:4", "sft:last:4", "dpo:last:4", "kto:full", "sft:full")
MAX_TOKENS = 256
REPLY_CHARACTERS = 400
HOLDOUT_ROWS = 32


def main() -> int:
    """Measure every cell, print the table, write it down; 0 also without the data set, with the reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2-135m", help="a base model, or a folder that holds one")
    parser.add_argument("--rows", type=int, default=96)
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--cells", nargs="+", default=list(CELLS))
    parser.add_argument("--source", type=Path, default=SOURCE)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    if not options.source.exists():
        print(f"Skipped: {options.source.name} is not on this machine.")
        return 0
    with tempfile.TemporaryDirectory(prefix="ratchet-training-") as name:
        folder = Path(name)
        prepare_base(options.base, folder / "base")
        tokenizer = AutoTokenizer.from_pretrained(folder / "base")
        with torch.device("meta"):  # only its shape is wanted
            shape = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder / "base"))
        weights = count_linear_weights(shape)
        roof = measure_matrix_product_gflops()
        print(f"A bare float32 matrix product reaches {roof:.0f} GFLOP/s here.", flush=True)
        for cell in options.cells:
            _save(_measure_cell(cell, options, folder, tokenizer, weights, roof), round(roof, 1), options.result)
    return 0


def _measure_cell(
    cell: str,
    options: argparse.Namespace,
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    weights: LinearWeights,
    roof_gflops: float,
) -> dict[str, Any]:
    method, trainable = cell.split(":", 1)
    rows = list(_build_rows(method, pd.read_csv(options.source), tokenizer))
    if method == "kto":  # as many ups as downs, from the first row on
        kinds_of_rows = ([row for row in rows if row["label"]], [row for row in rows if not row["label"]])
        rows = [row for both in zip(*kinds_of_rows, strict=False) for row in both]
    holdout, training = rows[:HOLDOUT_ROWS], rows[HOLDOUT_ROWS : HOLDOUT_ROWS + options.rows]
    recipe = {
        "trainable": trainable,
        "sft_epochs": options.epochs,
        "preference_epochs": options.epochs,
        "max_tokens": MAX_TOKENS,
        "early_stopping_patience": 0,
    }
    order = {
        "method": method,
        "base": str(folder / "base"),
        "recipe": recipe,
        "bf16": has_fast_bfloat16(),
        "rows": training,
        "holdout": holdout,
    }
    kinds: dict[str, list[dict[str, Any]]] = {"stock": [], "first run": [], "later run": []}
    for turn in range(options.rounds):
        cache = folder / f"cache-{cell.replace(':', '-')}-{turn}"
        for kind, figures in kinds.items():
            run = folder / f"{cell.replace(':', '-')}-{kind.replace(' ', '-')}-{turn}"
            run.mkdir()
            call = {**order, "kind": "stock" if kind == "stock" else "ours", "cache": str(cache), "folder": str(run)}
            figures.append(_run_once(call, run))
    summary = {kind: _summarise(figures) for kind, figures in kinds.items()}
    n_tokens = sum(_count_row_tokens(row, tokenizer) for row in training)
    n_prompt_tokens = sum(_count_prompt_tokens(row, tokenizer) for row in training)
    top = int(trainable.removeprefix("last:")) if trainable.startswith("last:") else None
    for kind, figures in summary.items():
        counts = (n_tokens, n_tokens - n_prompt_tokens)
        flops = count_epoch_flops(method, weights, top, *counts, is_ours=kind != "stock")
        figures["share_of_roof"] = round(flops / figures["epoch_s"] / roof_gflops / 1e9, 3)
    _print_cell(cell, len(training), n_tokens, summary)
    return {"cell": cell, "rows": len(training), "tokens_in_an_epoch": n_tokens, "epochs": options.epochs, **summary}


def _run_once(order: dict[str, Any], folder: Path) -> dict[str, Any]:
    file = folder / "order.json"
    file.write_text(json.dumps(order))
    command = [sys.executable, "-m", "benchmarks.training_once", str(file)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _summarise(figures: list[dict[str, Any]]) -> dict[str, float]:
    return {
        "seconds": round(mean(one["seconds"] for one in figures), 2),
        "epoch_s": round(mean(mean(one["epochs_s"]) for one in figures), 2),
        "last_epoch_s": round(mean(one["epochs_s"][-1] for one in figures), 2),
        "peak_gb": round(max(one["peak_bytes"] for one in figures) / 1e9, 2),
        "holdout_loss": round(mean(one["holdout_loss"] for one in figures), 4),
        **{name: figures[0][name] for name in ("found_texts", "computed_texts") if name in figures[0]},
    }


def _build_rows(method: str, table: pd.DataFrame, tokenizer: PreTrainedTokenizerBase) -> Iterator[dict[str, Any]]:
    """Rows that fit, in a fixed order; a made-up rater likes replies that ask something back."""
    table = table[["Context", "Response"]].dropna().drop_duplicates().sample(frac=1, random_state=0)
    waiting: dict[tuple[str, bool], str] = {}
    for context, response in table.itertuples(index=False):
        prompt = [{"role": "user", "content": " ".join(context.split())}]
        reply = [{"role": "assistant", "content": " ".join(response.split())[:REPLY_CHARACTERS]}]
        if count_tokens([*prompt, *reply], tokenizer) > MAX_TOKENS:
            continue
        is_up = "?" in reply[0]["content"]
        if method == "sft":
            yield {"prompt": prompt, "completion": reply}
        elif method == "kto":
            yield {"prompt": prompt, "completion": reply, "label": is_up}
        elif (other := waiting.pop((context, not is_up), None)) is not None:
            other_reply = [{"role": "assistant", "content": other}]
            chosen, rejected = (reply, other_reply) if is_up else (other_reply, reply)
            yield {"prompt": prompt, "chosen": chosen, "rejected": rejected}
        else:
            waiting[context, is_up] = reply[0]["content"]


def _count_row_tokens(row: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> int:
    sides = ("completion",) if "completion" in row else ("chosen", "rejected")
    return sum(count_tokens([*row["prompt"], *row[side]], tokenizer) for side in sides)


def _count_prompt_tokens(row: dict[str, Any], tokenizer: PreTrainedTokenizerBase) -> int:
    return count_tokens(row["prompt"], tokenizer) * (1 if "completion" in row else 2)


def _print_cell(cell: str, n_rows: int, n_tokens: int, summary: dict[str, dict[str, float]]) -> None:
    print(f"{cell}: {n_rows} rows, {n_tokens:,} tokens in an epoch")
    stock = summary["stock"]
    for kind, figures in summary.items():
        ratios = (
            f"{stock['seconds'] / figures['seconds']:5.1f} x run {stock['epoch_s'] / figures['epoch_s']:5.1f} x epoch"
        )
        print(
            f"  {kind:9} {figures['seconds']:8.1f} s  {figures['epoch_s']:7.1f} s an epoch {ratios}"
            f"  peak {figures['peak_gb']:.1f} GB  hold-out loss {figures['holdout_loss']:.4f}"
            f"  {figures['share_of_roof']:.0%} of the roof{_describe_cache(figures)}",
            flush=True,
        )


def _describe_cache(figures: dict[str, float]) -> str:
    if "computed_texts" not in figures:
        return ""
    return f"  trunk computed {figures['computed_texts']} times, found {figures['found_texts']} times"


def _save(cell: dict[str, Any], gflops: float, path: Path) -> None:
    """Put the cell into the file, in place of an older one of as many rows: a cell takes minutes to an hour."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    known = json.loads(path.read_text())["cells"] if path.exists() else []
    cell |= {
        "machine": f"{os.cpu_count()} processors, {platform.machine()}, fast bfloat16: {has_fast_bfloat16()}",
        "gemm_float32_gflops": gflops,
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "commit": commit.stdout.strip(),
        "command": " ".join(["python -m benchmarks.training", *sys.argv[1:]]),
    }
    others = [one for one in known if (one["cell"], one["rows"]) != (cell["cell"], cell["rows"])]
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"cells": [*others, cell]}, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
