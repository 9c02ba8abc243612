"""The frozen head against log softmax in double precision."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from trainer.frozen_head import score_tokens

WORDS, WIDTH = 50, 8


def build(tokens: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    hidden = 3 * torch.randn(tokens, WIDTH, generator=generator)
    weight = torch.randn(WORDS, WIDTH, generator=generator)
    return hidden, weight, torch.randint(WORDS, (tokens,), generator=generator)


def score_plainly(hidden: Tensor, weight: Tensor, labels: Tensor) -> Tensor:
    return (hidden.double() @ weight.double().T).log_softmax(-1).gather(-1, labels[:, None])[:, 0]


@pytest.mark.parametrize("tokens", [1, 7, 640, 641, 1500])
def test_scores_and_their_gradient_are_those_of_log_softmax(tokens: int) -> None:
    hidden, weight, labels = build(tokens)
    upstream = torch.linspace(-2, 2, tokens)
    ours, plain = hidden.clone().requires_grad_(), hidden.clone().requires_grad_()
    scores, expected = score_tokens(ours, weight, labels), score_plainly(plain, weight, labels)
    torch.testing.assert_close(scores.double(), expected, atol=1e-5, rtol=1e-5)
    [gradient] = torch.autograd.grad(scores, ours, upstream)
    [known] = torch.autograd.grad(expected, plain, upstream.double())
    torch.testing.assert_close(gradient, known, atol=1e-5, rtol=1e-5)


def test_no_token_has_no_score() -> None:
    hidden, weight, labels = build(0)
    assert score_tokens(hidden.requires_grad_(), weight, labels).shape == (0,)


def test_logits_in_the_thousands_do_not_overflow() -> None:
    hidden, weight, labels = build(20)
    scores = score_tokens(1000 * hidden, weight, labels)
    torch.testing.assert_close(scores.double(), score_plainly(1000 * hidden, weight, labels), atol=1e-2, rtol=1e-5)


def test_keeps_no_logits_for_the_backward_pass() -> None:
    hidden, weight, labels = build(30)
    kept: list[int] = []

    def note(saved: Tensor) -> Tensor:
        kept.append(saved.numel())
        return saved

    with torch.autograd.graph.saved_tensors_hooks(note, lambda saved: saved):
        score_tokens(hidden.requires_grad_(), weight, labels)
    assert kept == [30 * WIDTH]


def test_asks_for_no_gradient_where_none_is_wanted() -> None:
    hidden, weight, labels = build(5)
    assert not score_tokens(hidden, weight, labels).requires_grad
    with torch.no_grad():
        assert not score_tokens(hidden.requires_grad_(), weight, labels).requires_grad
