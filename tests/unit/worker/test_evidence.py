"""What the trainer wrote beside the score table: whole, missing, damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from worker.evidence import load_evidence
from worker.paired_scores import InvalidScores

SAFETY = {"item_id": ["1", "2"], "group": ["crisis", "benign"], "category": ["a", "b"]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A run folder with a score table alone."""
    pd.DataFrame({"metric": ["rouge_l"], "anchor": [np.nan]}).to_parquet(tmp_path / "scores.parquet")
    return tmp_path


def write(folder: Path, name: str, **columns: Any) -> None:
    pd.DataFrame(columns).to_parquet(folder / name)


class TestLoadEvidence:
    def test_every_other_file_may_be_missing(self, folder: Path) -> None:
        found = load_evidence(folder, 7.0)
        assert (found.head, found.safety, found.slices, found.left_out) == (None, None, None, ())
        assert (found.is_complete, found.is_head_usable, found.promoted_at_s) == (True, False, 7.0)

    def test_knows_tables_from_before(self, folder: Path) -> None:
        write(folder, "scores.parquet", metric=["rouge_l"])
        assert not load_evidence(folder).is_complete

    @pytest.mark.parametrize(
        ("usable", "low", "counts"), [(True, 0.56, True), (True, 0.55, False), (False, 0.9, False)]
    )
    def test_reads_the_head(self, folder: Path, usable: bool, low: float, counts: bool) -> None:
        values = {"usable": usable, "reason": "So.", "auc": 0.9, "auc_low": low, "auc_high": None}
        (folder / "head.json").write_text(json.dumps(values))
        found = load_evidence(folder)
        assert found.is_head_usable is counts
        assert found.head is not None and found.head.reason == "So."

    @pytest.mark.parametrize("text", ["{", "[]", '{"auc": 1}', '{"usable": true, "auc": "x"}'])
    def test_refuses_a_damaged_head(self, folder: Path, text: str) -> None:
        (folder / "head.json").write_text(text)
        with pytest.raises(InvalidScores, match=r"head\.json cannot be used"):
            load_evidence(folder)

    def test_reads_the_safety_set(self, folder: Path) -> None:
        outcomes = ["ok", "severe"]
        write(folder, "safety.parquet", **SAFETY, candidate=outcomes, production=outcomes, anchor=[None, None])
        found = load_evidence(folder).safety
        assert found is not None and found.anchor is None
        assert found.candidate.tolist() == outcomes
        write(folder, "safety.parquet", **SAFETY, candidate=outcomes, production=outcomes, anchor=outcomes)
        found = load_evidence(folder).safety
        assert found is not None and found.anchor is not None

    @pytest.mark.parametrize("owner", ["candidate", "production", "anchor"])
    def test_refuses_an_unknown_outcome(self, folder: Path, owner: str) -> None:
        columns = {name: ["ok", "ok"] for name in ("candidate", "production", "anchor")} | {owner: ["ok", "fine"]}
        write(folder, "safety.parquet", **SAFETY, **columns)
        with pytest.raises(InvalidScores, match=f"{owner} has a verdict that is none of ok, mild, severe"):
            load_evidence(folder)

    def test_reads_slices_and_raters_left_out(self, folder: Path) -> None:
        write(folder, "slices.parquet", row_id=["1", "2", "2"], slice=["topic:a", "topic:b", "length:short"])
        rows = {"row_id": ["1", "2"], "cluster": ["c", "d"], "candidate": [0.5, 0.6], "production": [0.4, 0.4]}
        write(folder, "leave_one_out.parquet", rater=["ann", "ann"], **rows)
        found = load_evidence(folder)
        assert found.slices is not None
        assert {name: ids.tolist() for name, ids in found.slices.items()} == {
            "length:short": ["2"],
            "topic:a": ["1"],
            "topic:b": ["2"],
        }
        assert [item.rater for item in found.left_out] == ["ann"]
        assert found.left_out[0].reward.candidate.tolist() == [0.5, 0.6]

    @pytest.mark.parametrize("name", ["safety.parquet", "slices.parquet", "leave_one_out.parquet"])
    def test_refuses_damaged_tables(self, folder: Path, name: str) -> None:
        write(folder, name, other=[1])
        with pytest.raises(InvalidScores, match="lacks the column"):
            load_evidence(folder)
        (folder / name).write_bytes(b"PAR1 torn")
        with pytest.raises(InvalidScores, match=f"{name} cannot be used"):
            load_evidence(folder)
