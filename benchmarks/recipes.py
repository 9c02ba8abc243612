"""Which training wins: the same ratings of a base model, several recipes, three seeds each, a judge that never trained.

    python -m benchmarks.recipes [--base smollm2-135m] [--ratings 600] [--seeds 0 1 2] [--cells sft:last:4 ...]

Two sampled replies to each of so many contexts are rated by the honest rater of loopbench; every cell trains from
the frozen base on these ratings and our examples. A cell is a method with what it trains: `sft` (ups with replay of the
examples), `reward` (that, a reward model from pairs, then the best of 4 replies imitated) and `kto` (that as the
reference, which anchors KTO), each with `last:4` and `full`. One file a cell and seed under `--work`: what is finished
is skipped, so the benchmark may be stopped and started again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.loop.__main__ import COUNSEL_CHAT
from benchmarks.loop.measures import compare_versions
from benchmarks.loop.scenarios import SCENARIOS, Thumb, build_example_rows, build_rated_rows, name_rater
from benchmarks.loop.speaker import Speaker
from benchmarks.loop.texts import Texts, read_texts
from benchmarks.loop.training import collect, find_base, parse_recipe, train
from benchmarks.provenance import describe_origin, save_json
from data.curation import CurationResult
from data.harm_rules import Severity
from data.recipe import Recipe
from data.snapshot import load_snapshot
from data.vocabulary import PoolRow, RowKind, Split
from serving.artifact import load_artifact
from settings import Settings

RESULT = Path(__file__).with_name("results") / "recipes.json"
METHODS: dict[str, dict[str, Any]] = {
    "sft": {"method": "sft", "replay_share": 1.0},
    "reward": {"method": "reward", "policy": "best_of_n", "policy_samples": 4},
    "kto": {"method": "kto"},
}
TRAINABLE: dict[str, dict[str, Any]] = {
    # On 8 blocks the loss of dev examples fell further at 3e-4 than at 1e-4 (docs/log.md, 2026-11-29).
    "last:4": {"sft_learning_rate": 3e-4},
    "full": {"sft_learning_rate": 2e-4, "preference_learning_rate": 2e-5},  # all blocks move, so each by less
}
CELLS = tuple(f"{method}:{trainable}" for method in METHODS for trainable in TRAINABLE)
# The gate is not asked here, but harm is counted as it would: on the trainer's safety items, before and after.
DEFAULTS: dict[str, Any] = {"max_tokens": 256, "max_holdout_rows": 16, "safety_items": 240}
REPLIES_OF_A_CONTEXT = 2  # so that there are pairs for the reward model


def main(arguments: Sequence[str] | None = None) -> int:
    """Run every cell that is not finished, then print and write the table of all that are."""
    options = _parse(arguments)
    texts = read_texts(options.contexts or (COUNSEL_CHAT if COUNSEL_CHAT.exists() else None), options.judged)
    options.work.mkdir(parents=True, exist_ok=True)
    base = find_base(options.base, options.work / "bases")
    recipes = {cell: build_cell(cell, options.recipe) for cell in options.cells}
    rated = rate_base(base, next(iter(recipes.values())), texts, options)
    result = collect([*build_example_rows(texts.examples), *rated])
    for seed in options.seeds:
        for cell in options.cells:
            run_cell(cell, seed, base=base, result=result, texts=texts, options=options)
    rows = summarise(options.work / "cells", make_key(base, result, texts))
    print_table(rows)
    origin = describe_origin(" ".join(["python -m benchmarks.recipes", *sys.argv[1:]]))
    save_json(
        options.result,
        origin | {"base": options.base, "ratings": len(rated), "compute_type": Settings().compute_type, "cells": rows},
    )
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2-135m", help="a base model, or a folder that holds one")
    parser.add_argument("--ratings", type=int, default=600)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--cells", nargs="+", default=list(CELLS), metavar="METHOD:TRAINABLE")
    parser.add_argument("--judged", type=int, default=150, help="contexts that only the judge sees")
    parser.add_argument("--contexts", type=Path, help="CSV with the column Context; counsel-chat where it is there")
    parser.add_argument("--recipe", nargs="+", default=[], metavar="KEY=VALUE", help="in every cell")
    parser.add_argument("--work", type=Path, default=Path("var/recipes"))
    parser.add_argument("--result", type=Path, default=RESULT)
    return parser.parse_args(arguments)


def build_cell(cell: str, assignments: Sequence[str], seed: int = 0) -> Recipe:
    """The recipe of a cell; `assignments` win over its defaults.

    Raises:
        ValueError: the method is none of METHODS.
        InvalidRecipe: what is trained is not known, or an assignment is wrong.
    """
    method, _, trainable = cell.partition(":")
    if method not in METHODS:
        raise ValueError(f"A cell is METHOD:TRAINABLE with a method of {', '.join(METHODS)}, not {cell!r}.")
    rates = TRAINABLE.get(trainable, {})
    return parse_recipe(assignments, **DEFAULTS | METHODS[method] | rates | {"trainable": trainable, "seed": seed})


def rate_base(base: Path, recipe: Recipe, texts: Texts, options: argparse.Namespace) -> list[PoolRow]:
    """So many thumbs of the honest rater on replies of the base, two to a context; kept for the next call."""
    contexts = texts.draw(math.ceil(options.ratings / REPLIES_OF_A_CONTEXT), 0)
    request = [load_artifact(base, verify=False).digest, Settings().compute_type, recipe.reply_tokens, *contexts]
    file = options.work / f"replies-{_digest(request)}.json"
    if not file.exists():
        replies = []
        for sample in range(REPLIES_OF_A_CONTEXT):
            with Speaker(base, recipe.reply_tokens, seed=sample) as speaker:
                replies.append(speaker.reply(contexts))
        save_json(file, replies)
    honest, generator = SCENARIOS["honest"], random.Random(0)
    said = [pair for group in json.loads(file.read_text()) for pair in zip(contexts, group, strict=True)]
    thumbs = [
        Thumb(
            context=context,
            reply=reply,
            is_up=honest.likes(context, reply, 0.0, generator),
            rater=name_rater(0, number, options.ratings),
        )
        for number, (context, reply) in enumerate(said[: options.ratings])
    ]
    print(f"{len(thumbs)} ratings, {np.mean([thumb.is_up for thumb in thumbs]):.0%} up", flush=True)
    return build_rated_rows(thumbs, 0)


def make_key(base: Path, result: CurationResult, texts: Texts) -> str:
    """What the figures of a cell hold for, beside its recipe: the base, the rows, what is judged, and computed in."""
    rows = [[item.split, item.row.row_id, item.row.reply, item.row.rating] for item in result.rows]
    return _digest([load_artifact(base, verify=False).digest, rows, texts.judged, Settings().compute_type])


def run_cell(
    cell: str, seed: int, *, base: Path, result: CurationResult, texts: Texts, options: argparse.Namespace
) -> None:
    """Train one cell with one seed and judge it, unless its file is there already."""
    recipe = build_cell(cell, options.recipe, seed)
    key = make_key(base, result, texts)
    name = f"{cell.replace(':', '-')}-{seed}-{_digest([key, recipe.to_dict()])}"
    file = options.work / "cells" / f"{name}.json"
    if file.exists():
        return
    print(f"{cell}, seed {seed}", flush=True)
    run = options.work / name
    started_s = time.monotonic()
    missing = train(run, result, recipe, base=base, production=base, cache=options.work / "trunk-cache")
    figures: dict[str, Any] = {"key": key, "cell": cell, "seed": seed, "recipe": recipe.to_dict(), "skipped": missing}
    if missing:
        print(f"    skipped: {missing}", flush=True)
    else:
        report = json.loads((run / "report.json").read_text())
        figures |= {"seconds": round(time.monotonic() - started_s, 1), "training_s": report["seconds"]["training"]}
        figures |= {"kl_to_base": report.get("kl_to_base"), "rows": report["rows"]}
        figures |= _judge_cell(base, run, texts, recipe) | {"severe": count_severe(run)}
    save_json(file, figures)
    shutil.rmtree(run)


def _judge_cell(base: Path, run: Path, texts: Texts, recipe: Recipe) -> dict[str, Any]:
    dev = [item.row for item in load_snapshot(run / "snapshot") if item.split is Split.DEV]
    references = [row for row in dev if row.kind is not RowKind.REPLY]
    perplexity = {}
    for name, folder in (("before", base), ("after", run / "artifact")):
        with Speaker(folder, recipe.reply_tokens) as speaker:
            values = speaker.measure_log_perplexity(references) if references else [math.nan]
        perplexity[name] = round(math.exp(float(np.mean(values))), 3)
    judged = compare_versions(base, run / "artifact", texts.judged, recipe.reply_tokens)
    return {"dev_perplexity": perplexity, "dev_rows": len(references), **judged}


def count_severe(run: Path) -> dict[str, int]:
    """Severe replies to the safety items, of the base and of what was trained."""
    table = pd.read_parquet(run / "safety.parquet")
    columns = {"before": "production", "after": "candidate"}
    return {when: int((table[column] == Severity.SEVERE.value).sum()) for when, column in columns.items()}


def summarise(folder: Path, key: str) -> list[dict[str, Any]]:
    """The finished cells of `key`, their seeds together, the highest win rate first."""
    found: dict[str, list[dict[str, Any]]] = {}
    for file in sorted(folder.glob("*.json")):
        figures = json.loads(file.read_text())
        if figures["key"] == key and not figures["skipped"]:
            found.setdefault(json.dumps(figures["recipe"] | {"seed": None}, sort_keys=True), []).append(figures)
    rows = [_average(cells) for cells in found.values()]
    return sorted(rows, key=lambda row: -row["win_rate"])


def _average(cells: list[dict[str, Any]]) -> dict[str, Any]:
    def mean(*path: str) -> float:
        values = []
        for figures in cells:
            value: Any = figures
            for name in path:
                value = value[name]
            values.append(value)
        return round(float(np.mean(values)), 4)

    rates = [figures["win_rate"] for figures in cells]
    return {
        "cell": cells[0]["cell"],
        "recipe": cells[0]["recipe"] | {"seed": None},
        "seeds": [figures["seed"] for figures in cells],
        "win_rate": mean("win_rate"),
        "lowest_seed": min(rates),
        "highest_seed": max(rates),
        "low": mean("low"),  # of the intervals over contexts, averaged over seeds
        "high": mean("high"),
        "dev_perplexity": mean("dev_perplexity", "after"),
        "dev_perplexity_before": mean("dev_perplexity", "before"),
        "distinct_2": mean("distinct_2", "after"),
        "distinct_2_before": mean("distinct_2", "before"),
        "shared_openings": mean("shared_after"),
        "honest_rater_up": mean("honest_rater_up", "after"),
        "honest_rater_up_before": mean("honest_rater_up", "before"),
        "severe": mean("severe", "after"),
        "severe_before": mean("severe", "before"),
        "training_s": mean("training_s"),
        "seconds": mean("seconds"),
    }


def print_table(rows: Sequence[dict[str, Any]]) -> None:
    """One line a cell."""
    titles = (
        "win rate (over seeds)    95 % over contexts  perplexity     distinct-2   rater up      severe       training"
    )
    print(f"cell           seeds  {titles}")
    for row in rows:
        print(
            f"{row['cell']:14} {len(row['seeds']):5}  {row['win_rate']:6.1%} ({row['lowest_seed']:.1%}-"
            f"{row['highest_seed']:.1%})   {row['low']:6.1%} to {row['high']:6.1%}    "
            f"{row['dev_perplexity_before']:5.1f} > {row['dev_perplexity']:5.1f}  "
            f"{row['distinct_2_before']:.2f} > {row['distinct_2']:.2f}  "
            f"{row['honest_rater_up_before']:4.0%} > {row['honest_rater_up']:4.0%}  "
            f"{row['severe_before']:4.1f} > {row['severe']:4.1f}  {row['training_s']:7.0f} s"
        )


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


if __name__ == "__main__":
    sys.exit(main())
