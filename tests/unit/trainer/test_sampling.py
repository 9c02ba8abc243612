"""Sampled replies are seeded, end where the model ends them, and follow prompts that leave room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.lessons import CONTEXTS, build_recipe, load_model
from trainer.sampling import count_reply_tokens, sample_replies, select_prompts, tokenize_prompt

PROMPTS: list[Any] = [[{"role": "user", "content": text}] for text in CONTEXTS]


class TestSelectPrompts:
    def test_takes_different_prompts_the_same_ones_for_a_seed(self, base_folder: Path) -> None:
        _, tokenizer = load_model(base_folder)
        recipe = build_recipe(seed=2)
        chosen = select_prompts([*PROMPTS, *PROMPTS], tokenizer, recipe, 3)
        assert len(chosen) == 3
        assert all(prompt in PROMPTS for prompt in chosen)
        assert select_prompts(PROMPTS[::-1], tokenizer, recipe, 3) == chosen
        orders = {str(select_prompts(PROMPTS, tokenizer, build_recipe(seed=seed), 9)) for seed in range(5)}
        assert len(orders) > 1

    def test_leaves_out_what_leaves_no_room(self, base_folder: Path) -> None:
        _, tokenizer = load_model(base_folder)
        long = [{"role": "user", "content": "a long story " * 20}]
        recipe = build_recipe(max_tokens=40, reply_tokens=60)
        assert count_reply_tokens(recipe) == 20
        assert select_prompts([long, PROMPTS[0]], tokenizer, recipe, 9) == [PROMPTS[0]]


class TestSampleReplies:
    def test_gives_the_same_for_a_seed_in_the_order_of_the_prompts(self, base_folder: Path) -> None:
        model, tokenizer = load_model(base_folder)
        prompts = [tokenize_prompt(prompt, tokenizer) for prompt in PROMPTS]
        one = sample_replies(model, tokenizer, prompts, tokens=6, samples=2, seed=1)
        assert sample_replies(model, tokenizer, prompts, tokens=6, samples=2, seed=1) == one
        assert sample_replies(model, tokenizer, prompts, tokens=6, samples=2, seed=2) != one
        assert [len(group) for group in one] == [2] * 4
        assert all(1 <= len(reply) <= 6 for group in one for reply in group)

    def test_pads_to_no_effect(self, base_folder: Path) -> None:
        """At a temperature near zero the likeliest tokens come, whatever stands beside the prompt in its batch."""
        model, tokenizer = load_model(base_folder)
        prompts = [tokenize_prompt(prompt, tokenizer) for prompt in (PROMPTS[0], PROMPTS[3])]
        prompts.append(prompts[0] * 3)
        together = sample_replies(model, tokenizer, prompts, tokens=5, temperature=1e-3)
        alone = [sample_replies(model, tokenizer, [prompt], tokens=5, temperature=1e-3)[0] for prompt in prompts]
        assert together == alone

    def test_leaves_the_mode_as_it_was(self, base_folder: Path) -> None:
        model, tokenizer = load_model(base_folder)
        model.train()
        sample_replies(model, tokenizer, [[5, 6]], tokens=2)
        assert model.training
