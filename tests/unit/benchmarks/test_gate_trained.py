"""The A/A benchmark on trained models: how two models are paired, the counts, and that a model is not trained twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from benchmarks.gate_trained import (
    FRESH,
    decide_by_conversation,
    decide_by_model,
    pair_tables,
    print_table,
    summarise,
    train_once,
)
from data.curation import CurationResult
from data.recipe import Recipe

CONVERSATIONS = 120


def decision(p: float | None, verdict: str = "not_enough_evidence", unseen_t: float = 0.0) -> dict[str, Any]:
    return {"p": p, "verdict": verdict, "unseen_t": unseen_t}


def write_model(folder: Path, log_perplexity: float, unseen: float) -> Path:
    """A model's tables: its own scores as the candidate's."""
    folder.mkdir()
    noise = np.random.default_rng(3).normal(0, 0.02, CONVERSATIONS)
    own = np.random.default_rng(int(folder.name.rpartition("-")[2])).normal(0, 0.001, CONVERSATIONS)
    rows = [f"row-{number}" for number in range(CONVERSATIONS)]
    scores = pd.DataFrame({"row_id": rows, "cluster": rows, "weight": 1.0, "is_up": pd.NA, "production": 0.0})
    values = {"log_perplexity": log_perplexity + noise + own, "rouge_l": 0.1, "bleu": 1.0, "chrf": 15.0}
    values |= {"distinct_2": 0.5, "repetition": 0.0, "reply_words": 20.0, "filtered": 0.0}
    tables = [scores.assign(metric=name, candidate=value) for name, value in values.items()]
    pd.concat(tables, ignore_index=True).to_parquet(folder / "scores.parquet")
    safety = {"item_id": ["a", "b"], "group": "crisis", "category": "abuse", "production": "ok", "candidate": "ok"}
    pd.DataFrame(safety | {"rule_candidate": "", "rule_production": ""}).to_parquet(folder / "safety.parquet")
    (folder / FRESH).write_text(json.dumps([unseen + 0.001 * number for number in range(5)]))
    return folder


class TestPairs:
    def test_a_swapped_conversation_has_both_models_exchanged_and_others_have_not(self) -> None:
        one = pd.DataFrame({"metric": "bleu", "row_id": ["1", "2"], "cluster": ["a", "b"], "candidate": [1.0, 2.0]})
        other = one.assign(candidate=[5.0, 6.0])
        paired = pair_tables(one.assign(production=0.0), other.assign(production=0.0), lambda label: label == "b")
        assert paired["candidate"].tolist() == [1.0, 6.0]
        assert paired["production"].tolist() == [5.0, 2.0]

    def test_items_of_the_safety_set_take_their_rules_along(self) -> None:
        one = pd.DataFrame({"item_id": ["a"], "candidate": ["ok"], "rule_candidate": [""]})
        other = pd.DataFrame({"item_id": ["a"], "candidate": ["severe"], "rule_candidate": ["agrees"]})
        paired = pair_tables(one, other, lambda _: True)
        assert paired.iloc[0].to_dict() == {
            "item_id": "a",
            "candidate": "severe",
            "rule_candidate": "agrees",
            "production": "ok",
            "rule_production": "",
        }

    def test_models_that_were_asked_different_things_are_no_pair(self) -> None:
        one = pd.DataFrame({"metric": ["bleu"], "row_id": ["1"], "cluster": ["a"], "candidate": [1.0]})
        with pytest.raises(ValueError, match="different things"):
            pair_tables(one, one.assign(row_id=["2"]), lambda _: True)


class TestDecisions:
    def test_a_better_model_is_promoted_or_never_and_unseen_rows_confirm_it(self, tmp_path: Path) -> None:
        better = write_model(tmp_path / "model-0", 3.9, 2.9)
        promoted = 0
        for number in range(1, 7):
            told = decide_by_model(better, write_model(tmp_path / f"model-{number}", 4.0, 3.0), Recipe())
            assert (told["p"] < 1e-6) == (told["unseen_gain"] > 0)
            promoted += told["verdict"] == "promote"
        assert 0 < promoted < 6  # the coin

    def test_with_a_coin_for_each_conversation_the_better_model_is_on_neither_side(self, tmp_path: Path) -> None:
        better = write_model(tmp_path / "model-0", 3.9, 2.9)
        others = [write_model(tmp_path / f"model-{number}", 4.0, 3.0) for number in range(1, 4)]
        told = [decide_by_conversation(better, other, Recipe(), draw) for other in others for draw in range(2)]
        assert all(one["p"] > 1e-3 for one in told)
        assert len({one["p"] for one in told}) > 3  # each pair and draw has its own coins; some p are 1


class TestSummary:
    def test_none_of_sixty(self, capsys: pytest.CaptureFixture[str]) -> None:
        figures = summarise([decision(1.0)] * 59 + [decision(None)])
        assert (figures["promoted"], figures["holds"], figures["smallest_p"]) == (0, True, 1.0)
        assert figures["levels"]["0.05"]["upper"] == pytest.approx(1 - 0.05 ** (1 / 60), abs=1e-4)
        print_table({"models": figures})
        assert "60 decisions" in capsys.readouterr().out

    def test_more_than_chance_explains(self) -> None:
        hits = [decision(0.03, "promote", 2.0)] * 5 + [decision(0.03, "promote", -2.0)] * 3
        figures = summarise(hits + [decision(0.6)] * 52)
        level = figures["levels"]["0.05"]
        assert level["count"] == figures["promoted"] == 8
        assert (level["confirmed"], level["contradicted"]) == (5, 3)
        assert level["p_of_excess"] < 0.05
        assert not figures["holds"]

    def test_as_many_as_chance_explains(self) -> None:
        assert summarise([decision(0.03)] * 3 + [decision(0.6)] * 57)["holds"]

    def test_all_below_a_level(self) -> None:
        assert summarise([decision(0.0001, "promote")])["levels"]["0.001"]["upper"] == 1.0


class TestResume:
    def test_a_model_that_is_there_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / FRESH).write_text("[3.0]")
        train_once(tmp_path, tmp_path / "no-base", CurationResult((), {}), Recipe(), tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == [FRESH]
