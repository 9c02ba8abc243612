"""False promotions on really trained candidates: pairs of models of one recipe whose seeds alone differ.

    python -m benchmarks.gate_trained [--base smollm2-135m] [--models 8] [--draws 3] [--ratings 300] [--work DIR]

Every model is trained from the base on the same rows with a seed of its own, and answers the same hold-out. The gate
decides on every pair of them (28 of 8 models), with independent coins:

- `conversations`, `--draws` times: a coin for each conversation, and for each item of the safety set, says which of the
  two models is the candidate there. Whatever the models are, neither side is better: every promotion is a false one,
  and the differences are those of really trained models, with their skew.
- `models`, once: one coin for the pair. Two seeds are two different models, and one may be better: rows that neither
  training nor the gate has seen (the dev split) tell whether the promoted one has the lower perplexity there, too.

Dev rows are left out of the runs. A finished model has its tables under `--work`; a call goes on where the last ended.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import math
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from benchmarks.loop.__main__ import COUNSEL_CHAT
from benchmarks.loop.scenarios import SCENARIOS, build_example_rows, build_rated_rows, rate_replies
from benchmarks.loop.speaker import Speaker
from benchmarks.loop.texts import read_texts
from benchmarks.loop.training import Judged, collect, find_base, judge, parse_recipe, train
from benchmarks.provenance import describe_origin, save_json
from data.curation import CurationResult
from data.recipe import Recipe
from data.vocabulary import PoolRow, RowKind, Split, Verdict

RESULT = Path(__file__).with_name("results") / "gate_trained.json"
LEVELS = (0.05, 0.01, 0.001)
DEFAULTS: dict[str, Any] = {"max_tokens": 192, "reply_tokens": 40, "max_holdout_rows": 250, "sft_epochs": 1}
TABLES = ("scores.parquet", "safety.parquet")
FRESH = "fresh.json"  # log-perplexity of each dev row; written last, so that it says that a model is finished
_KEPT = (*TABLES, "head.json", "slices.parquet", FRESH)
_ROWS = ["metric", "row_id", "item_id", "cluster"]  # what must be the same in two models' tables


def main(arguments: Sequence[str] | None = None) -> int:
    """Train what is missing, decide every pair, print and write what came of it."""
    options = _parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    recipe = parse_recipe(options.recipe, **DEFAULTS)
    base = find_base(options.base, options.work / "bases")
    result = build_rows(base, recipe, options)
    models = [options.work / f"model-{seed}" for seed in range(options.models)]
    for seed, folder in enumerate(models):
        train_once(folder, base, result, dataclasses.replace(recipe, seed=seed), options.work)
    pairs = list(itertools.combinations(models, 2))
    figures = {
        "conversations": summarise(
            [decide_by_conversation(*pair, recipe, draw) for pair in pairs for draw in range(options.draws)]
        ),
        "models": summarise([decide_by_model(*pair, recipe) for pair in pairs]),
    }
    print_table(figures)
    origin = describe_origin(" ".join(["python -m benchmarks.gate_trained", *sys.argv[1:]]))
    told = {"base": options.base, "models": options.models, "recipe": recipe.to_dict(), **figures}
    save_json(options.result, origin | told)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2-135m", help="a base model, or a folder that holds one")
    parser.add_argument("--models", type=int, default=8)
    parser.add_argument("--draws", type=int, default=3, help="decisions on a pair with a coin for each conversation")
    parser.add_argument("--ratings", type=int, default=300)
    parser.add_argument("--contexts", type=Path, help="CSV with the column Context; counsel-chat where it is there")
    parser.add_argument("--recipe", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--work", type=Path, default=Path("var/gate-trained"), help="of one base, recipe and ratings")
    parser.add_argument("--result", type=Path, default=RESULT)
    return parser.parse_args(arguments)


def build_rows(base: Path, recipe: Recipe, options: argparse.Namespace) -> CurationResult:
    """Examples and honest thumbs on the base's replies; the same in every call."""
    texts = read_texts(options.contexts or (COUNSEL_CHAT if COUNSEL_CHAT.exists() else None), 1)
    contexts = texts.draw(options.ratings, 0)
    file = options.work / "replies.json"
    if not file.exists():
        with Speaker(base, recipe.reply_tokens) as speaker:
            save_json(file, speaker.reply(contexts))
    thumbs = rate_replies(SCENARIOS["honest"], contexts, json.loads(file.read_text()), 0, 1, 0)
    return collect([*build_example_rows(texts.examples), *build_rated_rows(thumbs, 0)])


def train_once(folder: Path, base: Path, result: CurationResult, recipe: Recipe, work: Path) -> None:
    """Train and evaluate a model where it is missing, and keep of it what a decision reads."""
    if (folder / FRESH).exists():
        return
    unseen = [item.row for item in result.rows if item.split is Split.DEV and item.row.kind is not RowKind.REPLY]
    seen = dataclasses.replace(result, rows=tuple(item for item in result.rows if item.split is not Split.DEV))
    missing = train(folder, seen, recipe, base=base, production=base, cache=work / "trunk-cache")
    if missing:
        raise SystemExit(f"Nothing can be trained: {missing}")
    fresh = measure_fresh(folder / "artifact", unseen, recipe)
    for path in folder.iterdir():
        if path.name not in _KEPT:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    save_json(folder / FRESH, fresh)
    print(f"{folder.name}: perplexity of rows that nobody has seen {math.exp(float(np.mean(fresh))):.3f}", flush=True)


def measure_fresh(artifact: Path, rows: Sequence[PoolRow], recipe: Recipe) -> list[float]:
    """Mean -log p of each row's reply, in nats a token."""
    with Speaker(artifact, recipe.reply_tokens) as speaker:
        return speaker.measure_log_perplexity(rows)


def decide_by_conversation(one: Path, other: Path, recipe: Recipe, draw: int = 0) -> dict[str, Any]:
    """The gate's answer where a coin for each conversation says which model is the candidate."""
    generator = np.random.default_rng([_number(one), _number(other), draw])
    coins: dict[str, bool] = {}

    def is_swapped(label: str) -> bool:
        return coins.setdefault(label, bool(generator.random() < 0.5))

    return _to_dict(_decide(one, other, recipe, is_swapped))


def decide_by_model(one: Path, other: Path, recipe: Recipe) -> dict[str, Any]:
    """The gate's answer where a coin says which model is the candidate, and what unseen rows say of the two.

    `unseen_t` is the paired t of (production - candidate) in log-perplexity over them: above 0 the candidate is better.
    """
    is_swapped = random.Random(f"coin {_number(one)} {_number(other)}").random() < 0.5
    told = _to_dict(_decide(one, other, recipe, lambda _: is_swapped))
    candidate, production = (np.array(json.loads((folder / FRESH).read_text())) for folder in (one, other))
    gain = candidate - production if is_swapped else production - candidate
    spread = float(gain.std(ddof=1)) / math.sqrt(len(gain))
    return told | {"unseen_gain": float(gain.mean()), "unseen_t": float(gain.mean()) / spread if spread else 0.0}


def _number(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _to_dict(judged: Judged) -> dict[str, Any]:
    return {"verdict": judged.verdict, "p": judged.p}


def _decide(one: Path, other: Path, recipe: Recipe, is_swapped: Callable[[str], bool]) -> Judged:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("head.json", "slices.parquet"):
            if (one / file).exists():
                shutil.copy(one / file, folder)
        for file in TABLES:
            table = pair_tables(pd.read_parquet(one / file), pd.read_parquet(other / file), is_swapped)
            table.to_parquet(folder / file, index=False)
        return judge(folder, recipe, 1)


def pair_tables(one: pd.DataFrame, other: pd.DataFrame, is_swapped: Callable[[str], bool]) -> pd.DataFrame:
    """What both models scored as candidates: `one` is the candidate, and `other` where its conversation is swapped.

    An item of the safety set is a conversation of its own.

    Raises:
        ValueError: the tables are not of the same rows.
    """
    columns = [column for column in _ROWS if column in one]
    if not one[columns].equals(other[columns]):
        raise ValueError("Two models were asked different things; remove the folder that --work names.")
    labels = one["cluster" if "cluster" in one else "item_id"]
    swapped = np.array([is_swapped(label) for label in labels], dtype=bool)
    paired = one.copy()
    for column in ("candidate", "rule_candidate"):
        if column in one:
            paired[column] = one[column].where(~swapped, other[column])
            paired[column.replace("candidate", "production")] = other[column].where(~swapped, one[column])
    return paired


def summarise(decisions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Share of p at or below each level, with the one-sided exact 95 % bound, and whether chance explains it.

    `p_of_excess` is the binomial chance of so many or more if the level were the true rate; above 0.05 it holds.
    `confirmed` counts the decisions at the level in which unseen rows point the same way, `contradicted` those in
    which they point the other way with a t below -1.64.
    """
    values = [1.0 if decision["p"] is None else decision["p"] for decision in decisions]
    total = len(values)
    levels = {}
    for level in LEVELS:
        hits = [decision for decision, value in zip(decisions, values, strict=True) if value <= level]
        count = len(hits)
        levels[str(level)] = {
            "count": count,
            "share": round(count / total, 4),
            "upper": round(float(stats.beta.ppf(0.95, count + 1, total - count)) if count < total else 1.0, 4),
            "p_of_excess": round(float(stats.binom.sf(count - 1, total, level)), 4),
            "confirmed": sum(decision.get("unseen_t", 0.0) > 0 for decision in hits),
            "contradicted": sum(decision.get("unseen_t", 0.0) < -1.64 for decision in hits),
        }
    return {
        "count": total,
        "promoted": sum(decision["verdict"] == Verdict.PROMOTE for decision in decisions),
        "levels": levels,
        "holds": all(told["p_of_excess"] > 0.05 for told in levels.values()),
        "smallest_p": min(values, default=math.nan),
        "decisions": list(decisions),
    }


def print_table(figures: dict[str, dict[str, Any]]) -> None:
    """One line a level, for each way to toss the coins."""
    for coins, told in figures.items():
        print(f"{told['count']} decisions, a coin for {coins}: {told['promoted']} promoted")
        for level, found in told["levels"].items():
            unseen = f"; {found['confirmed']} confirmed by unseen rows" if coins == "models" else ""
            share = f"{found['share']:.1%}, at most {found['upper']:.1%} with 95 %"
            print(f"  p <= {level}: {found['count']} ({share}){unseen}")
        print(f"  smallest p {told['smallest_p']:.3g}; within the binomial bound: {'yes' if told['holds'] else 'NO'}")


if __name__ == "__main__":
    sys.exit(main())
