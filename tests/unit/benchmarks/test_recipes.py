"""The recipes benchmark: its cells, and what it makes of finished ones."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from benchmarks.recipes import CELLS, build_cell, count_severe, print_table, summarise
from data.vocabulary import Method


def write_cell(folder: Path, cell: str, seed: int, win_rate: float, key: str = "k", skipped: str | None = None) -> None:
    figures: dict[str, Any] = {"key": key, "cell": cell, "seed": seed, "skipped": skipped}
    figures["recipe"] = build_cell(cell, [], seed).to_dict()
    pair = {"before": 0.5, "after": 0.4}
    figures |= {"win_rate": win_rate, "low": win_rate - 0.1, "high": win_rate + 0.1, "shared_after": 0.2}
    figures |= {
        "dev_perplexity": pair,
        "distinct_2": pair,
        "honest_rater_up": pair,
        "severe": {"before": 3, "after": 4},
        "training_s": 10.0,
        "seconds": 20.0,
    }
    folder.mkdir(exist_ok=True)
    (folder / f"{cell}-{seed}-{key}-{win_rate}.json").write_text(json.dumps(figures))


class TestCells:
    def test_every_method_comes_with_last_and_full(self) -> None:
        recipes = [build_cell(cell, [], 2) for cell in CELLS]
        assert [(recipe.method, recipe.trainable) for recipe in recipes] == [
            (method, trainable) for method in ("sft", "reward", "kto") for trainable in ("last:4", "full")
        ]
        assert {recipe.seed for recipe in recipes} == {2}
        assert all(recipe.sft_epochs > 0 for recipe in recipes)  # the anchor of KTO, and replay

    def test_best_of_four_distillation(self) -> None:
        recipe = build_cell("reward:full", [])
        assert (recipe.method, recipe.policy, recipe.policy_samples) == (Method.REWARD, "best_of_n", 4)

    def test_what_moves_all_blocks_moves_each_by_less(self) -> None:
        full, last = build_cell("kto:full", []), build_cell("kto:last:4", [])
        assert full.sft_learning_rate < last.sft_learning_rate
        assert full.preference_learning_rate < last.preference_learning_rate

    def test_assignments_win(self) -> None:
        assert build_cell("kto:last:2", ["beta=0.3"]).beta == 0.3

    def test_an_unknown_method_is_an_error(self) -> None:
        with pytest.raises(ValueError, match="METHOD:TRAINABLE"):
            build_cell("ppo:full", [])


class TestSummary:
    def test_severe_replies_are_counted_before_and_after(self, tmp_path: Path) -> None:
        table = {"candidate": ["severe", "severe", "ok"], "production": ["mild", "severe", "ok"]}
        pd.DataFrame(table).to_parquet(tmp_path / "safety.parquet")
        assert count_severe(tmp_path) == {"before": 1, "after": 2}

    def test_seeds_are_averaged_and_the_best_comes_first(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for seed, rate in enumerate((0.5, 0.6, 0.7)):
            write_cell(tmp_path / "cells", "sft:full", seed, rate)
        write_cell(tmp_path / "cells", "kto:full", 0, 0.8)
        rows = summarise(tmp_path / "cells", "k")
        assert [(row["cell"], row["win_rate"], row["seeds"]) for row in rows] == [
            ("kto:full", 0.8, [0]),
            ("sft:full", 0.6, [0, 1, 2]),
        ]
        assert (rows[1]["lowest_seed"], rows[1]["highest_seed"]) == (0.5, 0.7)
        print_table(rows)
        assert capsys.readouterr().out.index("kto:full") < 200

    def test_other_data_and_skipped_cells_do_not_count(self, tmp_path: Path) -> None:
        write_cell(tmp_path / "cells", "sft:full", 0, 0.5, key="other")
        write_cell(tmp_path / "cells", "kto:full", 0, 0.5, skipped="Too few.")
        assert summarise(tmp_path / "cells", "k") == []
