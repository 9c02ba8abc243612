"""The engine on OpenVINO gives the tokens and the scores of transformers, whoever shares its steps."""

from __future__ import annotations

import importlib.util
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from data.vocabulary import Message
from serving.artifact import Artifact
from serving.engine import Engine, Generation, Sampling
from serving.engines import can_round_to_bfloat16, choose_engine, open_engine, resolve_compute_type
from serving.handle import load_handle
from serving.prompt import PromptRenderer
from serving.scheduler import Scheduler
from tests.engine_contract import GREEDY, EngineContract
from tests.engines import GENEROUS_S

if importlib.util.find_spec("openvino") is None:
    pytest.skip("openvino is not installed", allow_module_level=True)

TEXTS = ("Hi", "I can't sleep and I worry about tomorrow.", "naïve café 😀", "Tell me " + "more " * 30, "one", "two")
CONVERSATIONS: list[list[Message]] = [[{"role": "user", "content": text}] for text in TEXTS]


@pytest.fixture(scope="module")
def renderer(tiny: Artifact) -> PromptRenderer:
    return PromptRenderer(tiny)


@pytest.fixture(scope="module")
def prompts(renderer: PromptRenderer) -> list[list[str]]:
    return [renderer.render(messages) for messages in CONVERSATIONS]


@pytest.fixture(scope="module")
def engine(tiny: Artifact, renderer: PromptRenderer) -> Iterator[Engine]:
    engine = open_engine(tiny, renderer, "openvino", seed=1)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def reference(tiny: Artifact) -> Any:
    """The model in transformers."""
    return AutoModelForCausalLM.from_pretrained(tiny.folder).eval()


@pytest.fixture(scope="module")
def greedy(engine: Engine, prompts: list[list[str]]) -> list[Generation]:
    return engine.generate(prompts, GREEDY)


class TestGenerate(EngineContract):
    def test_greedy_tokens_are_those_of_transformers(
        self, greedy: list[Generation], prompts: list[list[str]], reference: Any, renderer: PromptRenderer
    ) -> None:
        for generation, prompt in zip(greedy, prompts, strict=True):
            ids = torch.tensor([renderer.list_ids(prompt)])
            output = reference.generate(ids, max_new_tokens=24, do_sample=False, pad_token_id=0)
            expected = output[0, ids.shape[1] :].tolist()
            assert generation.token_ids == [token_id for token_id in expected if token_id != 0]
        assert len({tuple(generation.token_ids) for generation in greedy}) == len(prompts)

    def test_a_row_alone_gets_the_tokens_it_gets_among_others(
        self, engine: Engine, greedy: list[Generation], prompts: list[list[str]]
    ) -> None:
        assert [engine.generate([prompt], GREEDY)[0] for prompt in prompts] == greedy

    def test_who_comes_later_joins_and_who_is_short_leaves(
        self, engine: Engine, greedy: list[Generation], prompts: list[list[str]]
    ) -> None:
        others: list[Generation] = []
        long = Sampling(max_tokens=200)

        def ask_others(row: int, token_id: int) -> bool:
            if not asked.is_set():  # the first row is amid its reply, and goes on only when the others have theirs
                asked.set()
                pool.submit(lambda: others.extend(engine.generate(prompts[1:], GREEDY))).add_done_callback(
                    lambda _: answered.set()
                )
            return answered.wait(0.01)

        asked, answered = threading.Event(), threading.Event()
        with ThreadPoolExecutor(1) as pool:
            [first] = engine.generate(prompts[:1], long, ask_others)
        assert others == greedy[1:]
        assert first.finish_reason == "cancelled"  # it had room for 200 tokens; the others were done before

    def test_keeps_the_order_of_more_prompts_than_share_a_step(
        self, engine: Engine, greedy: list[Generation], prompts: list[list[str]]
    ) -> None:
        rows: dict[int, list[int]] = {}

        def collect(row: int, token_id: int) -> bool:
            rows.setdefault(row, []).append(token_id)
            return False

        generations = engine.generate(prompts * 20, GREEDY, collect)
        assert generations == greedy * 20
        assert [rows[row][: len(g.token_ids)] for row, g in enumerate(generations)] == [
            g.token_ids for g in generations
        ]

    def test_an_error_of_the_callback_is_told_and_harms_nobody_else(
        self, engine: Engine, greedy: list[Generation], prompts: list[list[str]]
    ) -> None:
        def fail(row: int, token_id: int) -> bool:
            raise KeyError(row)

        with pytest.raises(KeyError):
            engine.generate(prompts * 20, GREEDY, fail)
        assert engine.generate(prompts, GREEDY) == greedy

    def test_samples_others_when_hot(self, engine: Engine, greedy: list[Generation], prompts: list[list[str]]) -> None:
        assert engine.generate(prompts, Sampling(max_tokens=24, temperature=5.0)) != greedy

    def test_the_same_seed_samples_alike(
        self, tiny: Artifact, renderer: PromptRenderer, prompts: list[list[str]]
    ) -> None:
        sampled = []
        for seed in (7, 7, 8):
            engine = open_engine(tiny, renderer, "openvino", seed=seed)
            sampled.append(engine.generate(prompts, Sampling(max_tokens=24, temperature=5.0)))
            engine.close()
        assert sampled[0] == sampled[1] != sampled[2]

    @pytest.mark.parametrize("sampling", [Sampling(1, temperature=1.0, top_p=2.0), Sampling(0), Sampling(1, -1.0)])
    def test_refuses_what_cannot_be_drawn_from(
        self, engine: Engine, prompts: list[list[str]], sampling: Sampling
    ) -> None:
        with pytest.raises(ValueError, match=r"top_p|negative"):
            engine.generate(prompts, sampling)

    def test_fails_beyond_the_window_and_without_a_prompt(self, engine: Engine, prompts: list[list[str]]) -> None:
        with pytest.raises(RuntimeError, match="256"):
            engine.generate(prompts, Sampling(max_tokens=300))
        with pytest.raises(ValueError, match="empty"):
            engine.generate([[]], GREEDY)

    def test_does_not_answer_after_close(
        self, tiny: Artifact, renderer: PromptRenderer, prompts: list[list[str]]
    ) -> None:
        engine = open_engine(tiny, renderer, "openvino")
        engine.close()
        with pytest.raises(RuntimeError, match="unloaded"):
            engine.generate(prompts, GREEDY)


class TestScore:
    def test_scores_are_those_of_transformers(
        self, engine: Engine, renderer: PromptRenderer, reference: Any, prompts: list[list[str]]
    ) -> None:
        replies = [renderer.tokenize_reply(messages, "Take a slow walk 🌿.") for messages in CONVERSATIONS]
        for prompt, reply, scores in zip(prompts, replies, engine.score(prompts, replies), strict=True):
            ids = torch.tensor([renderer.list_ids(prompt + reply)])
            with torch.no_grad():
                log_probabilities = reference(ids).logits.log_softmax(-1)[0, :-1]
            expected = log_probabilities.gather(1, ids[0, 1:, None])[-len(reply) :, 0]
            assert scores == pytest.approx(expected.tolist(), abs=1e-3, rel=1e-4)

    def test_a_text_longer_than_a_step_is_scored_in_parts(
        self, engine: Engine, renderer: PromptRenderer, prompts: list[list[str]]
    ) -> None:
        replies = [(prompt * 200)[: 250 - len(prompt)] for prompt in prompts]
        one_by_one = [engine.score([p], [r])[0] for p, r in zip(prompts, replies, strict=True)]
        for scores, expected in zip(engine.score(prompts, replies), one_by_one, strict=True):
            assert scores == pytest.approx(expected, abs=1e-3)

    def test_an_empty_reply_has_no_scores(self, engine: Engine, prompts: list[list[str]]) -> None:
        assert engine.score(prompts[:1], [[]]) == [[]]


class TestPrefixCache:
    def test_later_turns_are_answered_as_without(
        self, tiny: Artifact, renderer: PromptRenderer, engine: Engine
    ) -> None:
        keeping = open_engine(tiny, renderer, "openvino", prefix_cache_bytes=10**6)
        chat: list[Message] = [{"role": "user", "content": "I cannot sleep, and my week at work was long. " * 4}]
        for _ in range(2):
            prompt = renderer.render(chat)
            reply = keeping.generate([prompt], GREEDY)[0]
            assert reply == engine.generate([prompt], GREEDY)[0]
            assert keeping.generate([prompt], GREEDY)[0] == reply
            assert keeping.score([prompt], [["a"]])[0] == pytest.approx(engine.score([prompt], [["a"]])[0], abs=1e-4)
            chat += [
                {"role": "assistant", "content": renderer.decode(reply.token_ids)},
                {"role": "user", "content": "Why?"},
            ]
        keeping.close()


class TestChooseEngine:
    def test_takes_the_one_that_can(self, tiny: Artifact) -> None:
        assert choose_engine(tiny) == "openvino"
        assert choose_engine(tiny, "ctranslate2") == "ctranslate2"
        assert choose_engine(tiny, "auto", "int8") == "openvino"
        assert choose_engine(tiny, "auto", "int8_float32") == "ctranslate2"

    def test_auto_as_a_compute_type_is_what_the_manifest_says_where_that_was_measured(self, tiny: Artifact) -> None:
        rounded = Artifact(tiny.folder, tiny.digest, {**tiny.manifest, "compute_type": "int8"})
        assert resolve_compute_type(tiny, "auto") == "float32"
        assert resolve_compute_type(rounded, "auto") == "int8"
        assert resolve_compute_type(rounded, "auto", "ctranslate2") == "float32"
        assert resolve_compute_type(rounded, "float32") == "float32"

    def test_bfloat16_is_for_processors_that_have_it(self, tiny: Artifact) -> None:
        rounded = Artifact(tiny.folder, tiny.digest, {**tiny.manifest, "compute_type": "bfloat16"})
        if can_round_to_bfloat16():
            assert resolve_compute_type(rounded, "auto", "openvino") == "bfloat16"
            assert choose_engine(tiny, "openvino", "bfloat16") == "openvino"
        else:
            assert resolve_compute_type(rounded, "auto", "openvino") == "float32"
            with pytest.raises(
                ValueError, match="instructions for bfloat16 and two cores; set the compute type to float32"
            ):
                choose_engine(tiny, "openvino", "bfloat16")
        assert resolve_compute_type(rounded, "auto", "ctranslate2") == "float32"

    def test_says_what_is_missing(self, tiny: Artifact, tmp_path: Path) -> None:
        shutil.copytree(tiny.folder, tmp_path / "old", ignore=shutil.ignore_patterns("openvino"))
        old = Artifact(tmp_path / "old", tiny.digest, tiny.manifest)
        assert choose_engine(old, "auto") == "ctranslate2"
        with pytest.raises(ValueError, match="no graph"):
            choose_engine(old, "openvino")


class TestScheduler:
    def test_hands_each_request_to_the_engine_at_once(self, tiny: Artifact, prompts: list[list[str]]) -> None:
        handle = load_handle(tiny.folder, 1, engine="openvino")
        scheduler = Scheduler(queue_limit=64, threads=1)
        alone = [handle.engine.generate([prompt], GREEDY)[0].token_ids for prompt in prompts]
        tickets = [scheduler.submit(handle, prompt, GREEDY) for prompt in prompts]
        assert ["".join(ticket) for ticket in tickets] == [handle.renderer.decode(ids) for ids in alone]
        scheduler.close()
        handle.retire()
        assert handle.closed.wait(GENEROUS_S)


class TestStepGraph:
    def test_a_graph_that_wants_other_weights_is_refused(
        self, tiny: Artifact, renderer: PromptRenderer, tmp_path: Path
    ) -> None:
        folder = tmp_path / "other"
        shutil.copytree(tiny.folder, folder)
        graph = Artifact(folder, tiny.digest, tiny.manifest).openvino_graph
        graph.write_text(graph.read_text().replace(".mlp.", ".odd."))
        with pytest.raises(ValueError, match="odd"):
            open_engine(Artifact(folder, tiny.digest, tiny.manifest), renderer, "openvino")
