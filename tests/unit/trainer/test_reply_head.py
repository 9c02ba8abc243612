"""The reply head gives the log-probabilities of the plain model, on reply tokens only."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from trainer.reply_head import add_reply_head

TOKENS = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
LABELS = torch.tensor([[-100, -100, 7, 8], [-100, 10, 11, -100]])


def test_scores_reply_tokens_exactly_and_nothing_else(base_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base_folder).eval()
    expected = torch.log_softmax(model(input_ids=TOKENS).logits[:, :-1], -1)
    expected = expected.gather(-1, TOKENS[:, 1:, None])[..., 0] * (LABELS[:, 1:] != -100)
    add_reply_head(model)
    output = model(input_ids=TOKENS, labels=LABELS, fused_lm_head=True)
    assert torch.allclose(output.log_probs, expected, atol=1e-5)
    assert torch.allclose(output.loss, -expected.sum() / 4, atol=1e-5)


def test_leaves_the_plain_forward_alone(base_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(base_folder).eval()
    expected = model(input_ids=TOKENS, labels=LABELS).loss
    add_reply_head(model)
    assert torch.equal(model(input_ids=TOKENS, labels=LABELS).loss, expected)
