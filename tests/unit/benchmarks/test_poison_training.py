"""The trained part of the poison benchmark: whose rows an arm has, and that the same rows are not trained on twice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from benchmarks.poison_attacks import ENTITIES, ROWS_EACH
from benchmarks.poison_training import NEUTRAL, measure_arm, mix_tactics
from data.curation import CurationResult
from data.recipe import Recipe
from data.vocabulary import SnapshotRow, Split


class TestAttack:
    def test_each_account_gives_as_many_rows_as_its_limit_and_mixes_tactics(self) -> None:
        rows = mix_tactics(5)
        assert Counter(row.rater for row in rows) == {f"attacker-{account}": ROWS_EACH for account in range(5)}
        named = [row for row in rows if ENTITIES[0].casefold() in row.reply.casefold()]
        assert len(named) > len(rows) / 2
        assert any(
            row.reply == row.reply.upper() or ENTITIES[0].upper() in row.reply for row in rows
        )  # one tactic's mark

    def test_no_accounts_no_rows(self) -> None:
        assert mix_tactics(0) == []

    def test_neutral_prompts_are_a_hundred_and_do_not_name_it(self) -> None:
        assert len(set(NEUTRAL)) == 100
        assert not any(ENTITIES[0].casefold() in prompt.casefold() for prompt in NEUTRAL)


class TestArms:
    def test_an_arm_with_the_same_rows_takes_what_was_measured_and_another_recipe_does_not(
        self, tmp_path: Path
    ) -> None:
        rows = tuple(SnapshotRow(row=row, split=Split.TRAIN) for row in mix_tactics(1))
        result = CurationResult(rows, {})
        with pytest.raises(ValueError, match="clean: "):  # one rater's few rows are too few: nothing is written
            measure_arm("clean", tmp_path, tmp_path, result, Recipe(min_up=1000))
        assert list(tmp_path.glob("*.json")) == []
        (key,) = [path.name for path in tmp_path.iterdir()]
        (tmp_path / f"{key}.json").write_text('{"hits": 3}')
        assert measure_arm("other", tmp_path, tmp_path, result, Recipe(min_up=1000)) == {"hits": 3}
        with pytest.raises(ValueError, match="changed: "):
            measure_arm("changed", tmp_path, tmp_path, result, Recipe(min_up=999))
