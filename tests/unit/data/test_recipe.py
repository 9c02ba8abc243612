"""The recipe: defaults, ranges and the way through JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InvalidRecipe
from data.recipe import Margins, Recipe, build_recipe


class TestRecipe:
    @given(
        trainable=st.just("full") | st.integers(1, 999).map(lambda n: f"last:{n}"),
        beta=st.floats(1e-4, 10),
        batch_size=st.integers(2, 512),
        rouge_l=st.floats(1e-9, 100),
    )
    def test_comes_back_from_json(self, trainable: str, beta: float, batch_size: int, rouge_l: float) -> None:
        recipe = Recipe(trainable=trainable, beta=beta, batch_size=batch_size, margins=Margins(rouge_l=rouge_l))
        assert build_recipe(json.loads(json.dumps(recipe.to_dict()))) == recipe

    def test_refuses_to_train_nothing(self) -> None:
        with pytest.raises(InvalidRecipe, match="nothing would be trained"):
            Recipe(sft_epochs=0, preference_epochs=0)


class TestBuildRecipe:
    def test_keeps_defaults(self) -> None:
        assert build_recipe({}) == Recipe()

    def test_takes_a_whole_number_for_a_rate(self) -> None:
        assert build_recipe({"beta": 1, "margins": {"bleu": 2}}) == Recipe(beta=1.0, margins=Margins(bleu=2.0))

    @pytest.mark.parametrize(
        ("values", "complaint"),
        [
            ({"epochs": 3}, "Unknown recipe field 'epochs'; the fields are .*sft_epochs"),
            ({"trainable": "last:0"}, "'full' or 'last:N'"),
            ({"trainable": "lora:8"}, "'full' or 'last:N'"),
            ({"trainable": 4}, "trainable must be of type str, not int"),
            ({"batch_size": 1}, "batch_size must be from 2 to 512, not 1"),
            ({"beta": float("nan")}, "beta must be from"),
            ({"beta": "strong"}, "beta must be of type float, not str"),
            ({"beta": True}, "beta must be of type float, not bool"),
            ({"seed": True}, "seed must be of type int, not bool"),
            ({"seed": 1.5}, "seed must be of type int, not float"),
            ({"margins": 0.1}, "margins must be an object"),
            ({"margins": {"rouge": 0.1}}, "Unknown margin 'rouge'"),
            ({"margins": {"rouge_l": "wide"}}, "margins.rouge_l must be of type float"),
            ({"margins": {"rouge_l": 0}}, "margins.rouge_l must be above 0"),
        ],
    )
    def test_refuses_with_the_field_and_its_range(self, values: dict[str, Any], complaint: str) -> None:
        with pytest.raises(InvalidRecipe, match=complaint):
            build_recipe(values)
