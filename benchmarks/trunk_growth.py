"""Time and memory of a run over a growing pool, 5 % of it new since the last run, with and without a warm trunk cache.

    python -m benchmarks.trunk_growth [--rows 1000 4000 16000] [--method sft|kto] [--base NAME] [--cache-gb 4]

For each pool three runs of the trainer, one after the other: over the 95 % that were there before, with an empty cache
(`first`); over all rows with what that left (`warm`); over all rows without a cache, so that the run computes the lower
blocks of each row itself (`without`; it may remember 1 GiB in memory). Seconds are those of the training part, from
reading the rows to the exported artifact; memory is the peak of the whole process, which evaluates as well, on a few
rows. The texts are sentences of the samples put together anew. By default the model is a small random GPT-2 of 8
blocks; `--base smollm2-135m` takes the real one, which takes hours at 16,000 rows.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")  # no screen is needed

from matplotlib.figure import Figure

from data.curation import CurationResult
from data.overlap import list_word_runs
from data.recipe import Recipe
from data.snapshot import save_snapshot
from data.vocabulary import Message, PoolRow, Rating, RowKind, SnapshotRow, Split
from tests.tiny import SAMPLES, build_tiny_gpt2
from trainer.base import prepare_base

RESULTS = Path(__file__).with_name("results")
NEW_SHARE = 0.05
HELD_OUT = 16
RUNS = ("first", "warm", "without")


def build_rows(count: int, *, is_rated: bool) -> list[SnapshotRow]:
    """Rows of one to three sentences on each side, no two alike, and a few to hold out; the same ones each time."""
    draw = random.Random(0)
    with (SAMPLES / "support.csv").open(newline="") as file:
        pairs = [(row["Context"], row["Response"]) for row in csv.DictReader(file)]
    contexts, replies = (
        sorted({sentence for pair in pairs for sentence in re.split(r"(?<=[.?!]) ", pair[side])}) for side in (0, 1)
    )
    rows: list[SnapshotRow] = []
    held_out_runs: set[str] = set()  # of words, which no training row may share
    while len(rows) < count + HELD_OUT:
        number = len(rows)
        context, reply = (" ".join(draw.sample(texts, draw.randint(1, 3))) for texts in (contexts, replies))
        runs = list_word_runs(context) | list_word_runs(reply)
        if number < HELD_OUT:
            held_out_runs |= runs
        elif runs & held_out_runs:
            continue
        row = PoolRow(
            row_id=f"feedback:{number}",
            kind=RowKind.REPLY if is_rated else RowKind.EXAMPLE,
            cluster=f"conversation:{number}",
            messages=(Message(role="user", content=f"{context} ({number})"),),
            reply=reply,
            rating=(Rating.UP, Rating.DOWN)[number % 2] if is_rated else None,
        )
        rows.append(SnapshotRow(row=row, split=Split.HOLDOUT if number < HELD_OUT else Split.TRAIN))
    return rows


def measure(folder: Path, base: Path, rows: list[SnapshotRow], recipe: Recipe, cache: Path, limit_bytes: int) -> Any:
    """Run the trainer once; seconds of the training part, peak memory in bytes, and what the cache was asked."""
    save_snapshot(folder / "snapshot", CurationResult(rows=tuple(rows), dropped={}), len(rows), "salt")
    order = {
        "run_id": folder.name,
        "attempt": 1,
        "base": str(base),
        "production": str(base),
        "production_version": 0,
        "recipe": recipe.to_dict(),
        "trunk_cache": {"folder": str(cache), "limit_bytes": limit_bytes},
    }
    (folder / "run.json").write_text(json.dumps(order))
    with (folder / "trainer.log").open("wb") as log:
        trainer = subprocess.Popen([sys.executable, "-m", "trainer", str(folder)], stdout=log, stderr=log)
        _, status, usage = os.wait4(trainer.pid, 0)
    trainer.returncode = os.waitstatus_to_exitcode(status)  # so that Popen does not wait for it again
    if status:
        raise SystemExit(f"The trainer failed:\n{(folder / 'trainer.log').read_text()[-3000:]}")
    report = json.loads((folder / "report.json").read_text())
    return {
        "seconds": report["seconds"]["training"],
        "peak_bytes": usage.ru_maxrss * 1024,
        **{name: report["trunk_cache"][name] for name in ("hits", "misses", "bytes")},
    }


def measure_pool(count: int, base: Path, arguments: argparse.Namespace, recipe: Recipe) -> dict[str, Any]:
    """The three runs over a pool of `count` rows."""
    rows = build_rows(count, is_rated=arguments.method == "kto")
    old = rows[: len(rows) - round(NEW_SHARE * count)]
    limits = {"first": int(arguments.cache_gb * 10**9), "warm": int(arguments.cache_gb * 10**9), "without": 0}
    found: dict[str, Any] = {"rows": count}
    with tempfile.TemporaryDirectory(prefix="trunk-growth-") as name:
        folder = Path(name)
        for run in RUNS:
            (folder / run).mkdir()
            chosen = old if run == "first" else rows
            found[run] = measure(folder / run, base, chosen, recipe, folder / "trunk-cache", limits[run])
            shutil.rmtree(folder / run)
            print_run(count, run, found[run])
    found["ratio"] = round(found["without"]["seconds"] / found["warm"]["seconds"], 2)
    return found


def print_run(count: int, run: str, figures: dict[str, Any]) -> None:
    """One line of the table."""
    print(
        f"{count:>7} {run:<8} {figures['seconds']:>9.1f} {figures['peak_bytes'] / 2**20:>9.0f} "
        f"{figures['misses']:>9} {figures['hits']:>9} {figures['bytes'] / 10**6:>9.0f}",
        flush=True,
    )


def draw(pools: list[dict[str, Any]], path: Path) -> None:
    """Seconds and peak memory over the number of rows."""
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    for run, colour in (("without", "#8a8f98"), ("warm", "#1f6f5c")):
        counts = [pool["rows"] for pool in pools]
        left.plot(counts, [pool[run]["seconds"] for pool in pools], "o-", color=colour, label=run)
        right.plot(counts, [pool[run]["peak_bytes"] / 2**20 for pool in pools], "o-", color=colour, label=run)
    left.set_ylabel("training, seconds")
    right.set_ylabel("peak memory, MiB")
    for axes in (left, right):
        axes.set_xlabel("rows, 5 % of them new")
        axes.set_ylim(bottom=0)
        axes.spines[["top", "right"]].set_visible(False)
    left.legend(frameon=False)
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    """Run the benchmark, print the table, write JSON and plot."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1000, 4000, 16000])
    parser.add_argument("--method", choices=["sft", "kto"], default="sft")
    parser.add_argument("--base", default="", help="name or folder of a base model; a small random GPT-2 without")
    parser.add_argument("--cache-gb", type=float, default=4.0)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON and the plot")
    arguments = parser.parse_args()
    recipe = Recipe(method=arguments.method, trainable="last:2", batch_size=16, sft_epochs=1, preference_epochs=1)
    recipe = replace(recipe, max_tokens=256, reply_tokens=1, max_holdout_rows=HELD_OUT, safety_items=1)
    print(f"{'rows':>7} {'run':<8} {'seconds':>9} {'peak MiB':>9} {'computed':>9} {'kept':>9} {'cache MB':>9}")
    with tempfile.TemporaryDirectory(prefix="trunk-growth-base-") as name:
        base = Path(name) / "base"
        prepare_base(arguments.base or str(build_tiny_gpt2(Path(name) / "tiny", layers=8, width=128)), base)
        pools = [measure_pool(count, base, arguments, recipe) for count in arguments.rows]
    _save(pools, arguments)
    return 0


def _save(pools: list[dict[str, Any]], arguments: argparse.Namespace) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "machine": f"{os.cpu_count()} processors, {platform.machine()}",
        "commit": commit.stdout.strip(),
        "command": " ".join(["python -m benchmarks.trunk_growth", *sys.argv[1:]]),
        "base": arguments.base or "random GPT-2, 8 blocks of width 128",
        "method": arguments.method,
        "new_share": NEW_SHARE,
        "cache_gb": arguments.cache_gb,
        "pools": pools,
    }
    arguments.results.mkdir(parents=True, exist_ok=True)
    (arguments.results / "trunk_growth.json").write_text(json.dumps(result, indent=2) + "\n")
    draw(pools, arguments.results / "trunk_growth.svg")
    for pool in pools:
        print(f"{pool['rows']:>7} rows: {pool['ratio']:.2f} times as fast with a warm cache")


if __name__ == "__main__":
    sys.exit(main())
