"""Features of replies: against one forward pass at a time, and the rotation that leaves a fit as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModel

from serving.artifact import load_artifact
from serving.prompt import PromptRenderer
from tests.lessons import COLD, WARM, build_row
from trainer.answers import tokenize_rows
from trainer.features import BaseFeatures, Standard
from trainer.scoring import Text


def test_batched_features_are_those_of_one_text_at_a_time(base_folder: Path) -> None:
    base = load_artifact(base_folder)
    texts = tokenize_rows(
        PromptRenderer(base), [build_row(n, reply).row for n, reply in enumerate((WARM, COLD, "No."))]
    )
    texts.append(Text("empty", texts[0].prompt, []))
    features = BaseFeatures(base)
    found = features.compute(texts)
    model = AutoModel.from_pretrained(base_folder).eval()
    ids = features._ids
    for text, line in zip(texts, found, strict=True):
        tokens = torch.tensor([[ids[token] for token in [*text.prompt, *text.reply]]])
        with torch.inference_mode():
            states = model(tokens, output_hidden_states=True).hidden_states
        replied = slice(len(text.prompt) if text.reply else -1, None)
        expected = torch.cat([states[layer][0, replied].mean(dim=0) for layer in (2, -1)])
        assert line[:-1] == pytest.approx(expected.numpy(), abs=1e-5)
        assert line[-1] == pytest.approx(np.log1p(len(text.reply)))


class TestStandard:
    def test_keeps_distances_between_the_ratings_in_fewer_dimensions(self) -> None:
        generator = np.random.default_rng(0)
        wide = generator.normal(5.0, 3.0, size=(12, 40)).astype(np.float32)
        narrow = Standard(wide).transform(wide)
        assert narrow.shape == (12, 12)
        scaled = (wide - wide.mean(axis=0)) / wide.std(axis=0)
        assert narrow @ narrow.T == pytest.approx(scaled @ scaled.T, abs=1e-4)

    def test_leaves_a_feature_that_never_changes_at_zero(self) -> None:
        features = np.ones((5, 2), dtype=np.float32)
        features[:, 1] = range(5)
        found = Standard(features).transform(features)
        assert found[:, 0].tolist() == [0.0] * 5
        assert found[:, 1].std() == pytest.approx(1.0)
