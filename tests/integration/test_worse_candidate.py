"""A candidate trained on shuffled replies is refused by the real trainer, evaluation and gate."""

from __future__ import annotations

import csv
import json
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data.curation import build_snapshot_rows
from data.recipe import Margins, Recipe
from data.snapshot import save_snapshot
from data.splitting import DEFAULT_SALT, assign_split, context_cluster
from data.vocabulary import PoolRow, RowKind, Split, Verdict
from tests.tiny import SAMPLES, build_tiny_gpt2
from trainer.base import prepare_base
from worker.gate import decide
from worker.scores import load_scores

RECIPE = Recipe(
    trainable="full",
    sft_epochs=3,
    sft_learning_rate=3e-3,
    preference_epochs=0,
    max_tokens=256,
    reply_tokens=16,
    safety_items=8,
)
# What a model of random weights says is noise, and so is how long and varied it is.
MARGINS = Margins(reply_words=100, chrf=100, distinct_2=100, repetition=100)
pytestmark = pytest.mark.slow


def list_pool(shuffles: bool) -> list[PoolRow]:
    """The samples; with `shuffles` the words of every training reply are out of order, the hold-out is left alone."""
    order = random.Random(0)
    with (SAMPLES / "support.csv").open(newline="") as file:
        pairs = [(row["Context"], row["Response"]) for row in csv.DictReader(file)]
    rows = []
    for number, (context, response) in enumerate(pairs):
        cluster = context_cluster(context)
        words = response.split()
        if shuffles and assign_split(cluster) is not Split.HOLDOUT:
            order.shuffle(words)
        message = {"role": "user", "content": context}
        rows.append(
            PoolRow(
                row_id=f"example:{number}",
                kind=RowKind.EXAMPLE,
                cluster=cluster,
                messages=(message,),  # type: ignore[arg-type]
                reply=" ".join(words),
            )
        )
    return rows


def train(folder: Path, base: Path, production: Path, shuffles: bool, *, with_dev: bool = True) -> list[dict[str, Any]]:
    """Run the trainer and return its events; without dev rows the hold-out is asked whatever the candidate is."""
    pool = list_pool(shuffles)
    result = build_snapshot_rows(pool)
    if not with_dev:
        result = replace(result, rows=tuple(item for item in result.rows if item.split is not Split.DEV))
    save_snapshot(folder / "snapshot", result, len(pool), DEFAULT_SALT)
    order = {
        "run_id": "run-test",
        "attempt": 1,
        "base": str(base),
        "production": str(production),
        "production_version": 0,
        "recipe": RECIPE.to_dict(),
    }
    (folder / "run.json").write_text(json.dumps(order))
    done = subprocess.run([sys.executable, "-m", "trainer", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1] == {"event": "done"}
    return events


def find_dev(events: list[dict[str, Any]]) -> dict[str, Any]:
    (found,) = (event for event in events if event["event"] == "dev")
    return found


def test_shuffled_replies_are_refused_and_ordered_ones_promoted(tmp_path: Path) -> None:
    base = tmp_path / "base"
    prepare_base(str(build_tiny_gpt2(tmp_path / "tiny")), base)
    assert find_dev(train(tmp_path / "ordered", base, base, shuffles=False))["gain_nats"] > 0
    assert decide(*load_scores(tmp_path / "ordered" / "scores.parquet"), MARGINS, 1).verdict is Verdict.PROMOTE
    production = tmp_path / "ordered" / "artifact"
    events = train(tmp_path / "screened", base, production, shuffles=True)
    assert not find_dev(events)["better"] and not (tmp_path / "screened" / "scores.parquet").exists()
    assert "evaluating" not in [event.get("stage") for event in events]
    assert find_dev(train(tmp_path / "shuffled", base, production, shuffles=True, with_dev=False))["skipped"]
    decision = decide(*load_scores(tmp_path / "shuffled" / "scores.parquet"), MARGINS, 1)
    assert decision.verdict is Verdict.REFUSE
    assert any("worse than its margin" in reason.sentence for reason in decision.reasons)
