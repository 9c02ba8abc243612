"""The A/A benchmark on trained models: the swap, the counts, and that a decision is not made twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.gate_trained import decide_once, print_table, summarise, swap_models
from data.curation import CurationResult
from data.recipe import Recipe


def decision(p: float | None, verdict: str = "not_enough_evidence") -> dict[str, Any]:
    return {"p": p, "verdict": verdict, "is_swapped": True}


class TestSwap:
    def test_both_models_change_places_in_each_table_and_nothing_else_does(self, tmp_path: Path) -> None:
        scores = pd.DataFrame({"metric": ["bleu"], "candidate": [1.0], "production": [2.0], "anchor": [3.0]})
        safety = pd.DataFrame(
            {"candidate": ["ok"], "production": ["severe"], "rule_candidate": [""], "rule_production": ["praise"]}
        )
        scores.to_parquet(tmp_path / "scores.parquet")
        safety.to_parquet(tmp_path / "safety.parquet")
        swap_models(tmp_path)
        swapped = pd.read_parquet(tmp_path / "scores.parquet")
        assert list(swapped.columns) == list(scores.columns)
        assert swapped.iloc[0].to_dict() == {"metric": "bleu", "candidate": 2.0, "production": 1.0, "anchor": 3.0}
        assert pd.read_parquet(tmp_path / "safety.parquet").iloc[0].to_dict() == {
            "candidate": "severe",
            "production": "ok",
            "rule_candidate": "praise",
            "rule_production": "",
        }
        swap_models(tmp_path)
        pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "scores.parquet"), scores)


class TestSummary:
    def test_none_of_sixty(self, capsys: pytest.CaptureFixture[str]) -> None:
        figures = summarise([decision(1.0)] * 59 + [decision(None)])
        assert (figures["promoted"], figures["holds"], figures["smallest_p"]) == (0, True, 1.0)
        assert figures["levels"]["0.05"]["upper"] == pytest.approx(1 - 0.05 ** (1 / 60), abs=1e-4)
        print_table(figures)
        assert "60 decisions" in capsys.readouterr().out

    def test_more_than_chance_explains(self) -> None:
        figures = summarise([decision(0.03, "promote")] * 8 + [decision(0.6)] * 52)
        assert figures["levels"]["0.05"]["count"] == figures["promoted"] == 8
        assert figures["levels"]["0.05"]["p_of_excess"] < 0.05
        assert not figures["holds"]

    def test_as_many_as_chance_explains(self) -> None:
        assert summarise([decision(0.03)] * 3 + [decision(0.6)] * 57)["holds"]

    def test_all_below_a_level(self) -> None:
        assert summarise([decision(0.0001, "promote")])["levels"]["0.001"]["upper"] == 1.0


class TestResume:
    def test_a_decision_that_is_there_is_left_alone(self, tmp_path: Path) -> None:
        file = tmp_path / "decision-1.json"
        file.write_text(json.dumps(decision(0.5)))
        before = file.read_bytes()
        decide_once(1, tmp_path / "no-base", CurationResult((), {}), Recipe(), tmp_path)
        assert file.read_bytes() == before
        assert list(tmp_path.iterdir()) == [file]
