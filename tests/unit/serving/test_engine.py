"""The engine gives the tokens and the scores of transformers, on the real tiny model."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoTokenizer, GPT2LMHeadModel

from data.vocabulary import Message
from serving.artifact import Artifact
from serving.engine import CTranslate2Engine, Generation, Sampling, seed_engine
from serving.prompt import PromptRenderer
from tests.engine_contract import GREEDY, EngineContract

TEXTS = (
    "Hi",
    "I can't sleep and I worry about tomorrow.",
    "naïve café 😀",
    "Tell me " + "more " * 30,
    "one",
    "two",
)
CONVERSATIONS: list[list[Message]] = [[{"role": "user", "content": text}] for text in TEXTS]


@pytest.fixture(scope="module")
def prompts(renderer: PromptRenderer) -> list[list[str]]:
    return [renderer.render(messages) for messages in CONVERSATIONS]


@pytest.fixture(scope="module")
def reference(artifact: Artifact) -> Any:
    """The model in transformers."""
    return GPT2LMHeadModel.from_pretrained(artifact.folder).eval()


@pytest.fixture(scope="module")
def greedy(engine: CTranslate2Engine, prompts: list[list[str]]) -> list[Generation]:
    return engine.generate(prompts, GREEDY)


def to_ids(artifact: Artifact, tokens: list[str]) -> list[int]:
    tokenizer: Any = AutoTokenizer.from_pretrained(artifact.folder)
    return list(tokenizer.convert_tokens_to_ids(tokens))


def build_engine_that_ends_with(token_id: int, artifact: Artifact, folder: Path) -> CTranslate2Engine:
    """The same weights with another end token."""
    shutil.copytree(artifact.engine_folder, folder)
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"eos_token": vocabulary[token_id]}))
    return CTranslate2Engine(folder)


class TestGenerate(EngineContract):
    def test_greedy_tokens_are_those_of_transformers(
        self,
        greedy: list[Generation],
        prompts: list[list[str]],
        reference: Any,
        artifact: Artifact,
    ) -> None:
        for generation, prompt in zip(greedy, prompts, strict=True):
            ids = torch.tensor([to_ids(artifact, prompt)])
            output = reference.generate(ids, max_new_tokens=24, do_sample=False, pad_token_id=0)
            expected = output[0, ids.shape[1] :].tolist()
            assert generation.token_ids == [token_id for token_id in expected if token_id != 0]
        assert len({tuple(generation.token_ids) for generation in greedy}) == len(prompts)

    def test_batching_changes_no_greedy_token(
        self, engine: CTranslate2Engine, greedy: list[Generation], prompts: list[list[str]]
    ) -> None:
        assert [engine.generate([prompt], GREEDY)[0] for prompt in prompts] == greedy

    def test_keeps_the_order_of_more_prompts_than_one_batch_takes(
        self, engine: CTranslate2Engine, greedy: list[Generation], prompts: list[list[str]]
    ) -> None:
        rows: dict[int, list[int]] = {}

        def collect(row: int, token_id: int) -> bool:
            rows.setdefault(row, []).append(token_id)
            return False

        generations = engine.generate(prompts * 4, GREEDY, collect)
        assert generations == greedy * 4
        assert [rows[row] for row in range(len(generations))] == [g.token_ids for g in generations]

    def test_ends_at_the_end_token_and_leaves_it_out(
        self, greedy: list[Generation], prompts: list[list[str]], artifact: Artifact, tmp_path: Path
    ) -> None:
        usual = greedy[0].token_ids
        engine = build_engine_that_ends_with(usual[5], artifact, tmp_path / "engine")
        seen: list[int] = []

        def collect(row: int, token_id: int) -> bool:
            seen.append(token_id)
            return token_id == engine.end_id  # as the scheduler answers

        end = usual.index(usual[5])
        assert engine.generate(prompts[:1], GREEDY, collect) == [Generation(usual[:end], "stop")]
        assert seen == usual[: end + 1]
        assert engine.end_id == usual[5]

    def test_refuses_what_the_engine_refuses(self, engine: CTranslate2Engine, prompts: list[list[str]]) -> None:
        with pytest.raises(ValueError, match="topp"):
            engine.generate(prompts, Sampling(max_tokens=1, temperature=1.0, top_p=2.0))

    def test_fails_beyond_the_window(self, engine: CTranslate2Engine, prompts: list[list[str]]) -> None:
        with pytest.raises(RuntimeError, match="256"):
            engine.generate(prompts, Sampling(max_tokens=300))

    def test_an_error_of_the_callback_leaves_the_engine_usable(
        self, engine: CTranslate2Engine, greedy: list[Generation], prompts: list[list[str]]
    ) -> None:
        def fail(row: int, token_id: int) -> bool:
            raise KeyError(row)

        with pytest.raises(KeyError):
            engine.generate(prompts * 8, GREEDY, fail)  # three batches: some run on after the first has failed
        assert engine.generate(prompts, GREEDY) == greedy

    def test_an_engine_that_its_callback_leads_to_can_go_at_once(
        self, artifact: Artifact, prompts: list[list[str]]
    ) -> None:
        for _ in range(500):  # the thread that let go of the callback last used to destroy the engine, and itself
            engine = CTranslate2Engine(artifact.engine_folder)

            def compare(row: int, token_id: int, engine: CTranslate2Engine = engine) -> bool:
                return token_id == engine.end_id

            assert engine.generate(prompts[:1], Sampling(max_tokens=2), compare)
            del engine, compare


class TestScore:
    def test_scores_are_those_of_transformers(
        self,
        engine: CTranslate2Engine,
        renderer: PromptRenderer,
        reference: Any,
        artifact: Artifact,
    ) -> None:
        replies = [renderer.tokenize_reply(messages, "Take a slow walk 🌿.") for messages in CONVERSATIONS]
        prompts = [renderer.render(messages) for messages in CONVERSATIONS]
        for prompt, reply, scores in zip(prompts, replies, engine.score(prompts, replies), strict=True):
            ids = torch.tensor([to_ids(artifact, prompt + reply)])
            with torch.no_grad():
                log_probabilities = reference(ids).logits.log_softmax(-1)[0, :-1]
            expected = log_probabilities.gather(1, ids[0, 1:, None])[-len(reply) :, 0]
            assert scores == pytest.approx(expected.tolist(), abs=1e-3, rel=1e-4)

    def test_keeps_the_order_over_many_batches(self, engine: CTranslate2Engine, prompts: list[list[str]]) -> None:
        replies = [prompt[::-1] for prompt in prompts]
        one_by_one = [engine.score([p], [r])[0] for p, r in zip(prompts, replies, strict=True)]
        together = engine.score(prompts * 8, replies * 8)
        for scores, expected in zip(together, one_by_one * 8, strict=True):
            assert scores == pytest.approx(expected, abs=1e-3)

    def test_an_empty_reply_has_no_scores(self, engine: CTranslate2Engine, prompts: list[list[str]]) -> None:
        assert engine.score(prompts[:1], [[]]) == [[]]

    def test_wants_one_reply_for_each_prompt(self, engine: CTranslate2Engine, prompts: list[list[str]]) -> None:
        with pytest.raises(ValueError, match="zip"):
            engine.score(prompts, [])


class TestCTranslate2Engine:
    def test_int8_answers_too(self, artifact: Artifact, prompts: list[list[str]]) -> None:
        engine = CTranslate2Engine(artifact.engine_folder, "int8", intra_threads=1, inter_threads=1)
        assert len(engine.generate(prompts, GREEDY)) == len(prompts)
        assert all(math.isfinite(score) for score in engine.score(prompts[:1], prompts[:1])[0])

    def test_refuses_an_unknown_compute_type(self, artifact: Artifact) -> None:
        with pytest.raises(ValueError, match="float3"):
            CTranslate2Engine(artifact.engine_folder, "float3")

    def test_refuses_a_folder_without_a_model(self, tmp_path: Path) -> None:
        with pytest.raises(RuntimeError):
            CTranslate2Engine(tmp_path)

    def test_does_not_answer_after_close(self, artifact: Artifact, prompts: list[list[str]]) -> None:
        engine = CTranslate2Engine(artifact.engine_folder)
        engine.close()
        with pytest.raises(RuntimeError, match="unloaded"):
            engine.generate(prompts, GREEDY)


class TestSeedEngine:
    def test_engines_loaded_after_the_same_seed_sample_alike(
        self, artifact: Artifact, prompts: list[list[str]]
    ) -> None:
        sampled = []
        for seed in (7, 7, 8):
            seed_engine(seed)
            engine = CTranslate2Engine(artifact.engine_folder, inter_threads=1)
            sampled.append(engine.generate(prompts, Sampling(max_tokens=24, temperature=5.0)))
        assert sampled[0] == sampled[1] != sampled[2]
