"""What a candidate is served in is chosen on the dev split, written into its manifest, and what the hold-out judges."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from data.curation import CurationResult
from data.recipe import Margins
from data.snapshot import load_snapshot, save_snapshot
from data.splitting import DEFAULT_SALT
from data.vocabulary import RowKind, Split
from serving.artifact import load_artifact
from serving.engines import can_round_to_bfloat16
from serving.handle import load_handle
from tests.lessons import build_row
from tests.orders import write_order
from trainer.answers import Respondent
from trainer.compute_choice import choose_compute_type, settle_compute_type
from trainer.order import load_order
from trainer.prescreen import MIN_ROWS
from trainer.progress import Progress
from trainer.run import run

REFERENCES = [build_row(number, "Yes.", kind=RowKind.EXAMPLE).row for number in range(12)]
EXACT = [np.full(4, -2.0) for _ in REFERENCES]
MARGIN = Margins().log_perplexity
TRIED = "bfloat16" if can_round_to_bfloat16() else "int8"


def lose(nats: float, spread: float = 0.0) -> list[NDArray[np.float64]]:
    shifts = nats + spread * np.linspace(-1, 1, len(EXACT))
    return [scores - shift for scores, shift in zip(EXACT, shifts, strict=True)]


class TestChooseComputeType:
    @pytest.mark.parametrize(
        ("nats", "spread", "expected"),
        [
            (0.005, 0.005, "int8"),
            (-0.05, 0.005, "int8"),
            (0.03, 0.005, "float32"),
            (0.015, 0.1, "float32"),  # within the margin, but nobody can tell
        ],
    )
    def test_int8_where_its_loss_is_surely_within_the_margin(self, nats: float, spread: float, expected: str) -> None:
        choice = choose_compute_type(REFERENCES, EXACT, lose(nats, spread), MARGIN, "int8")
        assert choice.compute_type == expected
        assert [choice.exact_loss, choice.rounded_loss] == pytest.approx([2.0, 2.0 + nats])


def write_run(folder: Path, base_folder: Path, dev: int, **order: Any) -> Path:
    """A run of which everything is within the margin."""
    splits = [Split.HOLDOUT, *[Split.DEV] * dev, *[Split.TRAIN] * 8]
    rows = [
        build_row(number, f"Tell me of {number}.", kind=RowKind.EXAMPLE, context=f"It is day {number}.", split=split)
        for number, split in enumerate(splits)
    ]
    recipe: dict[str, Any] = {"method": "sft", "precision": "float32", "sft_epochs": 2, "sft_learning_rate": 5e-3}
    write_order(folder, base_folder, **recipe, margins={"log_perplexity": 5.0})
    for path in (folder / "snapshot").iterdir():
        path.unlink()
    save_snapshot(folder / "snapshot", CurationResult(tuple(rows), {}), len(rows), DEFAULT_SALT)
    told = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(told | order))
    return folder


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is not installed")
class TestRun:
    def test_the_choice_is_sealed_judged_and_served(self, base_folder: Path, tmp_path: Path) -> None:
        run(write_run(tmp_path, base_folder, MIN_ROWS, compute_type="auto"))
        artifact = load_artifact(tmp_path / "artifact")
        choice = artifact.manifest["compute_choice"]
        assert artifact.compute_type == choice["compute_type"] == TRIED and choice["rows"] == MIN_ROWS
        assert json.loads((tmp_path / "report.json").read_text())["compute_choice"] == choice
        self.check_scores_are_of_it(tmp_path)
        handle = load_handle(artifact.folder, 1, "auto")
        assert handle.digest == artifact.digest
        handle.retire()

    def check_scores_are_of_it(self, folder: Path) -> None:
        """The candidate's perplexity on the hold-out is that of the chosen type, and not that of float32."""
        order = load_order(folder)
        [row] = [item.row for item in load_snapshot(folder / "snapshot") if item.split is Split.HOLDOUT]
        table = pd.read_parquet(folder / "scores.parquet")
        [judged] = table.loc[table["metric"] == "log_perplexity", "candidate"]
        found = {}
        for compute_type in ("float32", TRIED):
            artifact = load_artifact(folder / "artifact")
            with Respondent(artifact, order.recipe, Progress("test", 1), compute_type=compute_type) as respondent:
                found[compute_type] = -float(respondent.score([row])[0].mean())
        assert judged == pytest.approx(found[TRIED], abs=1e-6)
        assert abs(judged - found["float32"]) > 1e-5

    @pytest.mark.parametrize("order", [{}, {"compute_type": "auto", "engine": "ctranslate2"}])
    def test_nothing_is_chosen_where_nobody_asked_or_openvino_does_not_answer(
        self, base_folder: Path, tmp_path: Path, order: dict[str, str]
    ) -> None:
        folder = write_run(tmp_path, base_folder, MIN_ROWS, **order)
        (folder / "artifact").symlink_to(base_folder)
        assert settle_compute_type(load_order(folder), load_snapshot(folder / "snapshot"), None) is None

    def test_nothing_is_chosen_by_too_few_rows(self, base_folder: Path, tmp_path: Path) -> None:
        folder = write_run(tmp_path, base_folder, MIN_ROWS - 1, compute_type="auto")
        (folder / "artifact").symlink_to(base_folder)
        assert settle_compute_type(load_order(folder), load_snapshot(folder / "snapshot"), None) is None
