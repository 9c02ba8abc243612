"""The estimated KL is the definition, is zero for the same model and grows with the difference."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn import functional
from transformers import PreTrainedModel

from data.vocabulary import Split
from tests.lessons import CONTEXTS, build_recipe, build_snapshot, load_model
from trainer.divergence import estimate_kl, measure_kl
from trainer.sampling import sample_replies, tokenize_prompt


def disturb(model: PreTrainedModel, amount: float) -> PreTrainedModel:
    other = copy.deepcopy(model)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in other.base_model.h[-1].parameters():
            parameter += amount * torch.randn(parameter.shape, generator=generator)
    return other


def sum_log_p(model: PreTrainedModel, prompt: list[int], reply: list[int]) -> float:
    ids = torch.tensor([[*prompt, *reply]])
    with torch.no_grad():
        log_p = functional.log_softmax(model(ids).logits[0, len(prompt) - 1 : -1].double(), -1)
    return float(log_p[range(len(reply)), reply].sum())


def test_is_the_mean_over_tokens_of_the_candidates_own_replies(base_folder: Path) -> None:
    base, tokenizer = load_model(base_folder)
    base.eval()
    candidate = disturb(base, 0.6).eval()
    prompts = [tokenize_prompt([{"role": "user", "content": text}], tokenizer) for text in CONTEXTS]
    told = estimate_kl(candidate, base, tokenizer, prompts, reply_tokens=24, seed=5)
    replies = [group[0] for group in sample_replies(candidate, tokenizer, prompts, tokens=24, seed=5)]
    expected = [
        sum_log_p(candidate, prompt, reply) - sum_log_p(base, prompt, reply)
        for prompt, reply in zip(prompts, replies, strict=True)
    ]
    assert told is not None
    assert told["tokens"] == sum(map(len, replies))
    assert told["replies"] == 4
    assert told["nats_per_token"] == pytest.approx(sum(expected) / told["tokens"], abs=1e-5)
    assert told["nats_per_token"] > 0.01
    assert told["standard_error"] > 0


def test_is_zero_for_the_base_and_grows_with_the_distance(base_folder: Path) -> None:
    base, _ = load_model(base_folder)
    rows = [replace(row, split=Split.DEV) for row in build_snapshot(24)]
    recipe = build_recipe(reply_tokens=48)
    tokenizer = load_model(base_folder)[1]
    far = [measure_kl(disturb(base, amount), base_folder, tokenizer, rows, recipe) for amount in (0.0, 0.5, 1.5)]
    divergences = [told["nats_per_token"] for told in far if told]
    assert divergences[0] == pytest.approx(0, abs=1e-6)
    assert divergences[0] < divergences[1] < divergences[2]


def test_has_no_error_for_one_reply_and_no_figure_without_a_prompt(base_folder: Path) -> None:
    base, tokenizer = load_model(base_folder)
    assert estimate_kl(base, base, tokenizer, [], reply_tokens=8, seed=0) is None
    one = estimate_kl(base, base, tokenizer, [[5, 6, 7]], reply_tokens=8, seed=0)
    assert one is not None
    assert one["standard_error"] is None
