"""The dev split decides whether the hold-out is asked at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.curation import CurationResult
from data.snapshot import save_snapshot
from data.splitting import DEFAULT_SALT
from data.vocabulary import Rating, RowKind, SnapshotRow, Split
from tests.lessons import build_row
from tests.orders import write_order
from trainer.holdout import Holdout
from trainer.order import load_order
from trainer.prescreen import MIN_ROWS, compare_on_dev, screen_on_dev
from trainer.run import run

DEV = Holdout(
    references=[build_row(number, "Yes.", kind=RowKind.EXAMPLE).row for number in range(12)],
    rated=[build_row(100 + n, "Yes.", (Rating.UP, Rating.DOWN)[n % 2]).row for n in range(20)],
)
UNRATED = Holdout(DEV.references, [])


def build_reading(log_perplexity: float, lift_of_ups: float = 0.0) -> dict[str, Any]:
    noise = np.linspace(-0.5, 0.5, 20)
    return {
        "log_perplexity": np.full(12, log_perplexity),
        "tokens": np.full(12, 3.0),
        "rating_score": noise + lift_of_ups * np.array([row.rating is Rating.UP for row in DEV.rated]),
    }


class TestCompareOnDev:
    def test_a_candidate_wins_by_perplexity(self) -> None:
        result = compare_on_dev(UNRATED, build_reading(2.0), build_reading(2.5))
        assert result.better and result.gain_nats == pytest.approx(0.5)
        assert result.sentence.startswith("On the dev split the candidate wins against production (+0.5000 nats")

    def test_or_by_ratings_where_there_are_some(self) -> None:
        found = compare_on_dev(DEV, build_reading(2.5, lift_of_ups=1.0), build_reading(2.0))
        assert found.better and found.auc_gain is not None and found.auc_gain > 0.1
        assert "of rating AUC on 20 ratings" in found.sentence

    @pytest.mark.parametrize("dev", [DEV, UNRATED])
    def test_and_loses_when_it_is_ahead_in_neither(self, dev: Holdout) -> None:
        result = compare_on_dev(dev, build_reading(2.5), build_reading(2.5))
        assert not result.better
        assert "does not win" in result.sentence and "the hold-out was not asked" in result.sentence


def build_rows(dev: int, taught: str = "Tell me of") -> list[SnapshotRow]:
    """Examples to train on and for dev, and one that is held out; replies to train on begin as they are taught."""
    splits = [Split.HOLDOUT, *[Split.DEV] * dev, *[Split.TRAIN] * 8]
    return [
        build_row(
            number,
            f"{taught if split is Split.TRAIN else 'Tell me of'} {number}.",
            kind=RowKind.EXAMPLE,
            context=f"It is day {number}.",
            split=split,
        )
        for number, split in enumerate(splits)
    ]


def write_run(folder: Path, base_folder: Path, rows: list[SnapshotRow], **recipe: Any) -> Path:
    write_order(folder, base_folder, method="sft", precision="float32", **recipe)
    for path in (folder / "snapshot").iterdir():
        path.unlink()
    save_snapshot(folder / "snapshot", CurationResult(tuple(rows), {}), len(rows), DEFAULT_SALT)
    return folder


@pytest.fixture(scope="module")
def better(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose candidate won on dev."""
    rows = build_rows(MIN_ROWS)
    folder = write_run(tmp_path_factory.mktemp("better"), base_folder, rows, sft_epochs=2, sft_learning_rate=5e-3)
    run(folder)
    return folder


class TestRun:
    def test_a_better_candidate_goes_on_to_the_hold_out(self, better: Path) -> None:
        report = json.loads((better / "report.json").read_text())
        assert report["dev"]["better"] and not report["dev"]["skipped"] and report["metrics"]
        assert report["holdout"]["holdout_rows"] == 1
        assert (better / "scores.parquet").exists() and not (better / "dev.json").exists()

    def test_too_few_dev_rows_are_not_asked(self, better: Path) -> None:
        few = screen_on_dev(load_order(better), build_rows(MIN_ROWS - 1), None)
        assert few.better and few.skipped
        assert few.sentence == "The dev split has 9 rows with a reference; below 10 it is not asked."

    def test_a_candidate_that_loses_on_dev_never_sees_the_hold_out(
        self, base_folder: Path, better: Path, tmp_path: Path
    ) -> None:
        rows = build_rows(MIN_ROWS, taught="0 0 7 0 7 7 0")
        folder = write_run(tmp_path, base_folder, rows, sft_epochs=1, sft_learning_rate=1e-4)
        order = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(order | {"production": str(better / "artifact")}))
        run(folder)
        told = json.loads((folder / "dev.json").read_text())
        assert not told["better"] and told["gain_nats"] < 0 and told["rows"] == MIN_ROWS
        written = {path.name for path in folder.iterdir()}
        assert written.isdisjoint({"scores.parquet", "safety.parquet", "slices.parquet", "head.json"})
        report = json.loads((folder / "report.json").read_text())
        assert report["dev"]["sentence"] == told["sentence"]
        assert (report["metrics"], report["samples"], report["rows"]["holdout_references"]) == ({}, [], 0)
        page = (folder / "report.html").read_text()
        assert "Stopped before the hold-out" in page and "Before and after" not in page
