"""Error rates and power of the gate, on resampled score tables of real runs.

    python -m benchmarks.gate [--scores FILE ...] [--decisions 1000] [--lives 200]

Writes benchmarks/results/gate.json, docs/img/gate-qq.svg and docs/img/gate-power.svg.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from benchmarks.gate_lives import simulate_lives
from benchmarks.gate_plots import draw_power, draw_qq
from benchmarks.gate_tables import METRICS, Recorded, draw_table, hall_t_tests, load_recorded, repeat_rows
from data.lifetime import spend_alpha
from data.recipe import Margins
from data.statistics import smallest_detectable_difference
from worker.evidence import Evidence
from worker.gate import decide
from worker.reuse import guard_reuse

RESULT = Path(__file__).with_name("results") / "gate.json"
IMAGES = Path(__file__).parents[1] / "docs" / "img"
LEVELS = (0.05, 0.01, 0.001)
SIZES = (100, 300, 1000, 3000)
LIFTS = (0.0, 0.5, 1.0, 2.0)  # in smallest detectable differences
NOTHING = np.zeros(len(METRICS))
CLUSTERS = 300


def measure_null(tables: list[Recorded], decisions: int, generator: np.random.Generator) -> dict[str, Any]:
    """Equal models, judged whole: how often p is at or below each level, and the p of being better alone."""
    whole, better = [], []
    for number in range(decisions):
        table = draw_table(tables[number % len(tables)], CLUSTERS, generator, NOTHING)
        decision = decide(table, None, Margins(), 1)
        whole.append(decision.p)
        better.append(min(1.0, *(2 * m.p_superior for m in decision.metrics if m.p_superior is not None)))
    rows = []
    for level in LEVELS:
        bound = int(stats.binom.ppf(0.99, decisions, level))
        counts = [int(np.count_nonzero(np.array(values) <= level)) for values in (whole, better)]
        rows.append({"alpha": level, "whole": counts[0], "better": counts[1], "at_most": bound})
    return {"decisions": decisions, "clusters": CLUSTERS, "levels": rows, "p_whole": whole, "p_better": better}


def measure_copies(tables: list[Recorded], generator: np.random.Generator, repeats: int = 30) -> dict[str, int]:
    """Verdicts that change when every row is there ten times."""
    changed = 0
    for number in range(repeats):
        lift = np.array([-0.02 * (number % 3), 0.004 * (number % 3), 0, 0, 0])
        table = draw_table(tables[number % len(tables)], CLUSTERS, generator, lift)
        verdicts = {decide(rows, None, Margins(), 1).verdict for rows in (table, repeat_rows(table, 10))}
        changed += len(verdicts) > 1
    return {"decisions": repeats, "changed": changed}


def measure_reuse(tables: list[Recorded], generator: np.random.Generator, repeats: int = 200) -> dict[str, float]:
    """How often the guard fires: where training went on in the same direction, in a new one, and from the base."""
    fired = {"onward": 0, "new_direction": 0, "from_base": 0}
    for number in range(repeats):
        noise = tables[number % len(tables)].change[:, 0]
        previous, step, other = generator.choice(noise, (3, CLUSTERS))
        production = previous + step
        table = draw_table(tables[0], CLUSTERS, generator, NOTHING)[0]
        for name, candidate in (
            ("onward", production + 0.6 * step + 0.8 * other),
            ("new_direction", production + other),
            ("from_base", previous + other),
        ):
            scores = dataclasses.replace(table, candidate=candidate, production=production, previous=previous)
            fired[name] += guard_reuse([scores], None, Evidence()).is_guarded
    return {name: count / repeats for name, count in fired.items()}


def measure_power(tables: list[Recorded], generator: np.random.Generator, repeats: int = 200) -> list[dict[str, Any]]:
    """Share of promotions for planted gains in perplexity, beside what the formula says."""
    rows, alpha = [], spend_alpha(1)
    for size in SIZES:
        for lift in LIFTS:
            found, shown, expected = 0, 0, 0.0
            for number in range(repeats):
                recorded = tables[number % len(tables)]
                picked = generator.integers(len(recorded.change), size=size)
                change, production = recorded.change[picked].copy(), recorded.production[picked]
                unit = smallest_detectable_difference(recorded.change[:, 0], alpha / 2) * np.sqrt(
                    len(recorded.change) / size
                )
                change[:, 0] -= lift * unit
                p_better, p_no_worse = _test(change, production)
                shown += p_better <= alpha
                found += max(p_better, p_no_worse) <= alpha
                z = stats.norm.isf(alpha / 2)
                expected += float(stats.norm.sf(z - lift * (z + stats.norm.ppf(0.8)))) / repeats
            rows.append(
                {"clusters": size, "lift_mde": lift, "promoted": found / repeats, "better": shown / repeats}
                | {"formula": expected}
            )
    return rows


def _test(change: Any, production: Any) -> tuple[float, float]:
    """p of being better and of being no worse, as `worker.gate` has them, without intervals."""
    margins = dataclasses.asdict(Margins())
    p_better, p_no_worse = [], []
    for position, name in enumerate(METRICS):
        gains = change[None, :, position] * (-1 if name == "log_perplexity" else 1)
        margin = margins[name]
        if name in ("log_perplexity", "rouge_l"):
            p_better.append(float(hall_t_tests(gains)[0]))
        if name == "reply_words":
            margin *= production[:, position].mean()
            p_no_worse.append(float(hall_t_tests(-gains, margin)[0]))
        p_no_worse.append(float(hall_t_tests(gains, margin)[0]))
    return min(1.0, 2 * min(p_better)), max(p_no_worse)


def main() -> int:
    """Run all and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--scores", nargs="*", type=Path, default=[], help="score tables of runs; else the committed ones"
    )
    parser.add_argument("--decisions", type=int, default=1000)
    parser.add_argument("--lives", type=int, default=200)
    parser.add_argument("--runs", type=int, default=300)
    options = parser.parse_args()
    started_s, generator = time.monotonic(), np.random.default_rng(0)
    tables = load_recorded(options.scores)
    null = measure_null(tables, options.decisions, generator)
    results: dict[str, Any] = {
        "null": {name: value for name, value in null.items() if not name.startswith("p_")},
        "copies": measure_copies(tables, generator),
        "reuse_guard_fires": measure_reuse(tables, generator),
        "power": measure_power(tables, generator),
        "lifetime": simulate_lives(tables[0], options.lives, options.runs, rows=400, seed=0),
    }
    draw_qq(null["p_whole"], null["p_better"], IMAGES / "gate-qq.svg")
    draw_power(results["power"], IMAGES / "gate-power.svg")
    results["seconds"] = round(time.monotonic() - started_s, 1)
    _print(results)
    _save(results)
    return 0


def _print(results: dict[str, Any]) -> None:
    null = results["null"]
    print(f"Equal models, {null['decisions']} decisions of {null['clusters']} conversations")
    for row in null["levels"]:
        counts = f"whole gate {row['whole']:>4}, better alone {row['better']:>4}, at most {row['at_most']}"
        print(f"  alpha {row['alpha']:<6} {counts}")
    print(f"Tenfold rows: {results['copies']['changed']} of {results['copies']['decisions']} verdicts changed")
    print(f"Reuse guard fires: {results['reuse_guard_fires']}")
    print("conversations  lift  promoted  better  formula")
    for row in results["power"]:
        shares = f"{row['promoted']:>9.2f} {row['better']:>7.2f} {row['formula']:>8.2f}"
        print(f"{row['clusters']:>13} {row['lift_mde']:>5} {shares}")
    for rule, figures in results["lifetime"].items():
        print(rule, {name: round(value, 3) for name, value in figures.items()})


def _save(results: dict[str, Any]) -> None:
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    about = {
        "commit": commit,
        "command": " ".join(["python -m benchmarks.gate", *sys.argv[1:]]),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(about | results, indent=2) + "\n")


if __name__ == "__main__":
    raise SystemExit(main())
