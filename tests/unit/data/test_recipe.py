"""The recipe: defaults, ranges and the way through JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data.errors import InvalidRecipe
from data.recipe import Margins, Recipe, build_recipe, check_window, measure_length_room


class TestRecipe:
    @given(
        trainable=st.just("full") | st.from_regex(r"(last|lora):[1-9][0-9]{0,2}", fullmatch=True),
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


class TestCheckWindow:
    def test_takes_what_just_fits(self) -> None:
        check_window(Recipe(max_tokens=1024, reply_tokens=512), 1024)

    @pytest.mark.parametrize(
        ("values", "complaint"),
        [
            ({"max_tokens": 1025}, "max_tokens is 1025, .* reads 1024 tokens; set it to at most 1024"),
            ({"reply_tokens": 513}, "reply_tokens is 513, .* half of the 1024 tokens .* at most 512"),
        ],
    )
    def test_refuses_what_does_not(self, values: dict[str, int], complaint: str) -> None:
        with pytest.raises(InvalidRecipe, match=complaint):
            check_window(build_recipe(dict(values)), 1024)


class TestBuildRecipe:
    def test_keeps_defaults(self) -> None:
        assert build_recipe({}) == Recipe()

    def test_reads_recipes_from_before_there_were_methods(self) -> None:
        stored = {"trainable": "last:8", "sft_epochs": 1, "preference_epochs": 2, "beta": 0.2, "margins": {"bleu": 1.0}}
        recipe = build_recipe(stored)
        assert (recipe.method, recipe.replay_share, recipe.trainable) == ("auto", 1.0, "last:8")

    def test_takes_a_whole_number_for_a_rate(self) -> None:
        assert build_recipe({"beta": 1, "margins": {"bleu": 2}}) == Recipe(beta=1.0, margins=Margins(bleu=2.0))

    @pytest.mark.parametrize(
        ("values", "complaint"),
        [
            ({"epochs": 3}, "Unknown recipe field 'epochs'; the fields are .*sft_epochs"),
            ({"trainable": "last:0"}, "'full', 'last:N' or 'lora:R'"),
            ({"trainable": "lora:x"}, "'full', 'last:N' or 'lora:R'"),
            ({"method": "ppo"}, "method must be one of auto, sft, kto, dpo, reward, not 'ppo'"),
            ({"policy": "best"}, "policy must be one of best_of_n, rloo, grpo"),
            ({"dpo_loss": "ipo"}, "dpo_loss must be one of sigmoid, robust"),
            ({"method": "sft", "sft_epochs": 0}, "method is sft, but sft_epochs is 0"),
            ({"method": "dpo", "preference_epochs": 0}, "method is dpo, but preference_epochs is 0"),
            ({"dpo_loss": "robust"}, "go together"),
            ({"label_smoothing": 0.1}, "go together"),
            ({"dpo_loss": "robust", "label_smoothing": 0.5}, "label_smoothing must be from 0 to 0.49"),
            ({"method": "reward", "policy": "rloo", "policy_samples": 3}, "batch_size must be a multiple of"),
            ({"replay_share": 1.5}, "replay_share must be from 0 to 1"),
            ({"trainable": 4}, "trainable must be of type str, not int"),
            ({"batch_size": 1}, "batch_size must be from 2 to 512, not 1"),
            ({"beta": float("nan")}, "beta must be from"),
            ({"beta": "strong"}, "beta must be of type float, not str"),
            ({"beta": True}, "beta must be of type float, not bool"),
            ({"seed": True}, "seed must be of type int, not bool"),
            ({"seed": 1.5}, "seed must be of type int, not float"),
            ({"precision": "float16"}, "precision must be one of auto, float32, bfloat16"),
            ({"processes": 2}, "2 processes need launcher = 'accelerate'"),
            ({"gradient_accumulation": 3}, "must divide into gradient_accumulation x processes = 3 parts"),
            ({"launcher": "accelerate", "processes": 4, "gradient_accumulation": 2}, "8 parts of at least 2 rows"),
            ({"save_steps": 0}, "save_steps must be from 1"),
            ({"gradient_checkpointing": 1}, "gradient_checkpointing must be of type bool, not int"),
            ({"margins": 0.1}, "margins must be an object"),
            ({"gate_mode": "loose"}, "gate_mode must be one of strict, balanced"),
            ({"margins": {"rouge": 0.1}}, "Unknown margin 'rouge'"),
            ({"margins": {"rouge_l": "wide"}}, "margins.rouge_l must be of type float"),
            ({"margins": {"rouge_l": 0}}, "margins.rouge_l must be above 0"),
        ],
    )
    def test_refuses_with_the_field_and_its_range(self, values: dict[str, Any], complaint: str) -> None:
        with pytest.raises(InvalidRecipe, match=complaint):
            build_recipe(values)


@pytest.mark.parametrize(
    ("reference_words", "room"),
    [(None, (10.0, 10.0)), (40.0, (10.0, 10.0)), (20.0, (25.0, 10.0)), (60.0, (10.0, 35.0))],
)
def test_a_length_may_come_as_near_to_the_references_as_it_likes(
    reference_words: float | None, room: tuple[float, float]
) -> None:
    assert measure_length_room(0.25, 40.0, reference_words) == room
