"""False promotions on really trained candidates: two seeds of one recipe, which is which decided by a coin.

    python -m benchmarks.gate_trained [--base smollm2-135m] [--decisions 60] [--ratings 300] [--work DIR]

Candidate i and production i - 1 are trained from the base on the same rows with two seeds; after both were scored,
a coin swaps their columns, so that no difference can be anything but chance, whatever seeds do. The coins are
independent: given the models so are the decisions, although neighbours share one. Dev rows are left out, else half of
the candidates would be stopped before the gate (that is what dev is for, and not what is measured). One file a decision
under `--work`; a call goes on where the last one ended.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import random
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from benchmarks.loop.__main__ import COUNSEL_CHAT
from benchmarks.loop.scenarios import SCENARIOS, build_example_rows, build_rated_rows, rate_replies
from benchmarks.loop.speaker import Speaker
from benchmarks.loop.texts import read_texts
from benchmarks.loop.training import collect, find_base, judge, parse_recipe, train
from benchmarks.provenance import describe_origin, save_json
from data.curation import CurationResult
from data.recipe import Recipe
from data.vocabulary import Split, Verdict

RESULT = Path(__file__).with_name("results") / "gate_trained.json"
LEVELS = (0.05, 0.01, 0.001)
DEFAULTS: dict[str, Any] = {"max_tokens": 192, "reply_tokens": 40, "max_holdout_rows": 250, "sft_epochs": 1}
_TABLES = ("scores.parquet", "safety.parquet", "leave_one_out.parquet")  # those that name both models
_FIRST = 0  # seed of the model that only is production


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and decide what is missing, then print and write all that is there."""
    options = _parse(arguments)
    options.work.mkdir(parents=True, exist_ok=True)
    recipe = parse_recipe(options.recipe, **DEFAULTS)
    base = find_base(options.base, options.work / "bases")
    result = build_rows(base, recipe, options)
    for number in range(1, options.decisions + 1):
        decide_once(number, base, result, recipe, options.work)
    decisions = [
        json.loads((options.work / f"decision-{number}.json").read_text()) for number in range(1, options.decisions + 1)
    ]
    figures = summarise(decisions)
    print_table(figures)
    origin = describe_origin(" ".join(["python -m benchmarks.gate_trained", *sys.argv[1:]]))
    told = {"base": options.base, "recipe": recipe.to_dict(), **figures, "decisions": decisions}
    save_json(options.result, origin | told)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2-135m", help="a base model, or a folder that holds one")
    parser.add_argument("--decisions", type=int, default=60)
    parser.add_argument("--ratings", type=int, default=300)
    parser.add_argument("--contexts", type=Path, help="CSV with the column Context; counsel-chat where it is there")
    parser.add_argument("--recipe", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--work", type=Path, default=Path("var/gate-trained"), help="of one base, recipe and ratings")
    parser.add_argument("--result", type=Path, default=RESULT)
    return parser.parse_args(arguments)


def build_rows(base: Path, recipe: Recipe, options: argparse.Namespace) -> CurationResult:
    """Examples and honest thumbs on the base's replies, without dev rows; the same in every call."""
    texts = read_texts(options.contexts or (COUNSEL_CHAT if COUNSEL_CHAT.exists() else None), 1)
    contexts = texts.draw(options.ratings, 0)
    file = options.work / "replies.json"
    if not file.exists():
        with Speaker(base, recipe.reply_tokens) as speaker:
            save_json(file, speaker.reply(contexts))
    thumbs = rate_replies(SCENARIOS["honest"], contexts, json.loads(file.read_text()), 0, 1, 0)
    result = collect([*build_example_rows(texts.examples), *build_rated_rows(thumbs, 0)])
    return dataclasses.replace(result, rows=tuple(item for item in result.rows if item.split is not Split.DEV))


def decide_once(number: int, base: Path, result: CurationResult, recipe: Recipe, work: Path) -> None:
    """Train candidate `number` where its file is missing, swap by a coin, ask the gate, and write its answer down."""
    file = work / f"decision-{number}.json"
    if file.exists():
        return
    started_s = time.monotonic()
    before = work / f"model-{number - 1}"
    if not (before / "artifact" / "manifest.json").exists():
        seed = _FIRST + number - 1
        _train(before, result, dataclasses.replace(recipe, seed=seed), base=base, production=base, work=work)
    run = work / f"model-{number}"
    recipe = dataclasses.replace(recipe, seed=_FIRST + number)
    _train(run, result, recipe, base=base, production=before / "artifact", work=work)
    is_swapped = random.Random(f"coin {number}").random() < 0.5
    if is_swapped:
        swap_models(run)
    judged = judge(run, recipe, 1)
    decision = dataclasses.asdict(judged) | {"number": number, "is_swapped": is_swapped}
    decision["minutes"] = round((time.monotonic() - started_s) / 60, 2)
    save_json(file, decision)
    shutil.rmtree(before)
    shutil.rmtree(run / "reward", ignore_errors=True)
    print(f"{number}: {judged.verdict}, p = {judged.p}", flush=True)


def _train(folder: Path, result: CurationResult, recipe: Recipe, *, base: Path, production: Path, work: Path) -> None:
    missing = train(folder, result, recipe, base=base, production=production, cache=work / "trunk-cache")
    if missing:
        raise SystemExit(f"Nothing can be trained: {missing}")


def swap_models(folder: Path) -> None:
    """Exchange candidate and production in every table of a run that names both."""
    pairs = {"candidate": "production", "production": "candidate"}
    pairs |= {f"rule_{one}": f"rule_{other}" for one, other in pairs.items()}
    for name in _TABLES:
        file = folder / name
        if file.exists():
            table = pd.read_parquet(file)
            table.rename(columns=pairs)[list(table.columns)].to_parquet(file, index=False)


def summarise(decisions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Share of p at or below each level, with the one-sided exact 95 % bound, and whether chance explains it.

    `p_of_excess` is the binomial chance of so many or more if the level were the true rate; above 0.05 it holds.
    """
    values = [1.0 if decision["p"] is None else decision["p"] for decision in decisions]
    total = len(values)
    levels = {}
    for level in LEVELS:
        hits = sum(value <= level for value in values)
        levels[str(level)] = {
            "count": hits,
            "share": round(hits / total, 4),
            "upper": round(float(stats.beta.ppf(0.95, hits + 1, total - hits)) if hits < total else 1.0, 4),
            "p_of_excess": round(float(stats.binom.sf(hits - 1, total, level)), 4),
        }
    promoted = sum(decision["verdict"] == Verdict.PROMOTE for decision in decisions)
    return {
        "count": total,
        "promoted": promoted,
        "swapped": sum(decision["is_swapped"] for decision in decisions),
        "levels": levels,
        "holds": all(told["p_of_excess"] > 0.05 for told in levels.values()),
        "smallest_p": min(values, default=math.nan),
    }


def print_table(figures: dict[str, Any]) -> None:
    """One line a level."""
    print(f"{figures['count']} decisions between two seeds of one recipe, {figures['promoted']} promoted")
    for level, told in figures["levels"].items():
        print(f"  p <= {level}: {told['count']} ({told['share']:.1%}, at most {told['upper']:.1%} with 95 %)")
    print(f"  smallest p {figures['smallest_p']:.3g}; within the binomial bound: {'yes' if figures['holds'] else 'NO'}")


if __name__ == "__main__":
    sys.exit(main())
