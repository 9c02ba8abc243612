"""Replies sampled from a model in training."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from transformers import PreTrainedTokenizerBase, set_seed

from data.preferences import draw_share
from data.recipe import Recipe
from data.vocabulary import Message
from trainer.lora import Trainable

PROMPTS_AT_ONCE = 16


def count_reply_tokens(recipe: Recipe) -> int:
    """The longest sampled reply: the recipe's, and at most half of what a row may hold."""
    return min(recipe.reply_tokens, recipe.max_tokens // 2)


def select_prompts(
    prompts: Iterable[list[Message]], tokenizer: PreTrainedTokenizerBase, recipe: Recipe, limit: int
) -> list[list[Message]]:
    """Different prompts that leave room for a reply, at most `limit`, the same ones for the recipe's seed."""
    different = {_render(prompt, tokenizer): prompt for prompt in prompts}
    room = recipe.max_tokens - count_reply_tokens(recipe)
    fitting = [text for text, prompt in different.items() if len(tokenize_prompt(prompt, tokenizer)) <= room]
    return [different[text] for text in sorted(fitting, key=lambda text: draw_share(text, recipe.seed))[:limit]]


def tokenize_prompt(messages: Sequence[Any], tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids of the turns and of the opening of the assistant's, as serving renders them."""
    ids: list[int] = tokenizer(_render(messages, tokenizer), add_special_tokens=False)["input_ids"]
    return ids


def _render(messages: Sequence[Any], tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False, add_generation_prompt=True))


@torch.no_grad()
def sample_replies(
    model: Trainable,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Sequence[int]],
    *,
    tokens: int,
    samples: int = 1,
    temperature: float = 1.0,
    seed: int = 0,
) -> list[list[list[int]]]:
    """`samples` replies to each prompt, as token ids: at most `tokens`, with the end token where one was said.

    Drawn from the whole distribution at `temperature`; the same weights, prompts and seed give the same replies.
    """
    set_seed(seed)
    was_training = model.training
    model.eval()
    replies: list[list[list[int]]] = [[] for _ in prompts]
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]))
    for start in range(0, len(order), PROMPTS_AT_ONCE):
        chunk = order[start : start + PROMPTS_AT_ONCE]
        generated = _generate(model, tokenizer, [prompts[index] for index in chunk], tokens, samples, temperature)
        for position, reply in enumerate(generated):
            replies[chunk[position // samples]].append(reply)
    model.train(was_training)
    return replies


def _generate(
    model: Trainable,
    tokenizer: PreTrainedTokenizerBase,
    prompts: list[Sequence[int]],
    tokens: int,
    samples: int,
    temperature: float,
) -> list[list[int]]:
    width = max(map(len, prompts))
    device = next(model.parameters()).device
    padding = [[tokenizer.pad_token_id] * (width - len(prompt)) for prompt in prompts]
    ids = torch.tensor([[*pad, *prompt] for pad, prompt in zip(padding, prompts, strict=True)], device=device)
    mask = torch.tensor([[0] * len(pad) + [1] * (width - len(pad)) for pad in padding], device=device)
    output = model.generate(  # type: ignore[operator]
        input_ids=ids,
        attention_mask=mask,
        max_new_tokens=tokens,
        num_return_sequences=samples,
        do_sample=True,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return [_cut_at_end(row, int(tokenizer.eos_token_id)) for row in output[:, width:].tolist()]


def _cut_at_end(ids: list[int], end: int) -> list[int]:
    return ids[: ids.index(end) + 1] if end in ids else ids
