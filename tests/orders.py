"""The folder of a run as the worker leaves it for the trainer: run.json and a small snapshot of the samples."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

from data.curation import CurationResult
from data.snapshot import save_snapshot
from data.splitting import DEFAULT_SALT, context_cluster
from data.vocabulary import Message, PoolRow, Rating, RowKind, SnapshotRow, Split
from tests.tiny import SAMPLES

SMALL = {
    "trainable": "last:1",
    "batch_size": 4,
    "max_tokens": 96,
    "reply_tokens": 4,
    "safety_items": 4,
    "sft_learning_rate": 1e-3,
    "preference_learning_rate": 1e-3,
    "min_up": 2,
    "min_down": 2,
}
TWO_STAGES: dict[str, Any] = {"save_steps": 3, "sft_epochs": 2, "preference_epochs": 2, "precision": "float32"}


def build_rows(examples: int, rated: int) -> list[SnapshotRow]:
    """So many examples, and rated replies up and down by turns; of eight rows one is held out and one is for dev."""
    with (SAMPLES / "support.csv").open(newline="") as file:
        pairs = [(row["Context"], row["Response"]) for row in csv.DictReader(file)]
    rows = [_build_row(number, *pairs[number], rating=None) for number in range(examples)]
    for number in range(examples, examples + rated):
        rows.append(_build_row(number, *pairs[number], rating=(Rating.UP, Rating.DOWN)[number % 2]))
    return rows


def _build_row(number: int, context: str, reply: str, rating: Rating | None) -> SnapshotRow:
    row = PoolRow(
        row_id=f"{'feedback' if rating else 'example'}:{number}",
        kind=RowKind.REPLY if rating else RowKind.EXAMPLE,
        cluster=context_cluster(context),
        messages=(Message(role="user", content=context),),
        reply=reply,
        rating=rating,
    )
    splits = {0: Split.HOLDOUT, 1: Split.DEV}
    return SnapshotRow(row=row, split=splits.get(number % 8, Split.TRAIN))


def write_order(folder: Path, base_folder: Path, *, examples: int = 32, rated: int = 24, **recipe: Any) -> Path:
    """Write run.json and snapshot/ into `folder` and return it."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = build_rows(examples, rated)
    save_snapshot(folder / "snapshot", CurationResult(tuple(rows), {}), len(rows), DEFAULT_SALT)
    order = {
        "run_id": "run-1",
        "attempt": 1,
        "base": str(base_folder),
        "production": str(base_folder),
        "production_version": 0,
        "recipe": SMALL | recipe,
        "threads": 1,
    }
    (folder / "run.json").write_text(json.dumps(order))
    return folder
