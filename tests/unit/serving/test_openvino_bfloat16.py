"""bfloat16 on a processor that has instructions for it: near float32, and the same whoever is in the batch."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from serving.artifact import Artifact
from serving.engine import Engine, Sampling
from serving.engines import can_round_to_bfloat16, open_engine
from serving.prompt import PromptRenderer
from tests.engine_contract import GREEDY

if not can_round_to_bfloat16():
    pytest.skip("OpenVINO has no bfloat16 on this processor", allow_module_level=True)

TEXTS = ("Hi", "I can't sleep and I worry.", "more " * 30)


@pytest.fixture(scope="module")
def renderer(tiny: Artifact) -> PromptRenderer:
    return PromptRenderer(tiny)


@pytest.fixture(scope="module")
def engine(tiny: Artifact, renderer: PromptRenderer) -> Iterator[Engine]:
    engine = open_engine(tiny, renderer, "openvino", "bfloat16", prefix_cache_bytes=10**6)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def prompts(renderer: PromptRenderer) -> list[list[str]]:
    return [renderer.render([{"role": "user", "content": text}]) for text in TEXTS]


def test_scores_are_near_those_in_float32_and_not_the_same(
    tiny: Artifact, renderer: PromptRenderer, engine: Engine, prompts: list[list[str]]
) -> None:
    replies = [renderer.tokenize_reply([{"role": "user", "content": text}], "Take a slow walk 🌿.") for text in TEXTS]
    exact = open_engine(tiny, renderer, "openvino")
    expected, found = (np.concatenate(each.score(prompts, replies)) for each in (exact, engine))
    exact.close()
    assert found == pytest.approx(expected, abs=0.2)
    assert np.abs(found - expected).mean() < 0.05
    assert np.abs(found - expected).max() > 1e-4


def test_a_row_alone_gets_the_tokens_it_gets_among_others(engine: Engine, prompts: list[list[str]]) -> None:
    together = engine.generate(prompts, GREEDY)
    assert [engine.generate([prompt], GREEDY)[0] for prompt in prompts] == together
    assert engine.generate(prompts, Sampling(max_tokens=24, temperature=2.0, top_k=1)) == together


def test_one_thread_is_too_few_so_it_takes_two(tiny: Artifact, renderer: PromptRenderer, engine: Engine) -> None:
    prompts = [renderer.render([{"role": "user", "content": text}]) for text in TEXTS]
    alone = open_engine(tiny, renderer, "openvino", "bfloat16", threads=1)
    assert alone.generate(prompts, GREEDY) == engine.generate(prompts, GREEDY)
    alone.close()


def test_is_not_offered_to_a_process_with_one_core() -> None:
    core = min(os.sched_getaffinity(0))
    script = (
        f"import os; os.sched_setaffinity(0, {{{core}}})\n"
        "from serving.engines import can_round_to_bfloat16\n"
        "print(can_round_to_bfloat16())"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"
