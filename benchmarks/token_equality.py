"""Do the engines write what the model writes? Greedy tokens and perplexity of each against transformers in float32.

    python -m benchmarks.token_equality [--base smollm2-135m] [--prompts 200] [--tokens 48] [--compute-types int8]

Prompts and replies are of counsel_chat where it is there, else the samples. Prompts of one length are generated
together, so that nothing is padded; each is cut at its beginning to a multiple of 16 tokens, so that many share one.
Where an engine writes another token first, the gap is how far apart transformers' logits of the two tokens are: a gap
of 1e-4 is a tie that rounding decides, one of 0.1 is another model.
"""

from __future__ import annotations

import argparse
import math
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from benchmarks.provenance import describe_origin, save_json
from data.vocabulary import Message
from serving.artifact import Artifact, load_artifact
from serving.engine import Sampling
from serving.engines import EngineName, open_engine
from serving.prompt import PromptRenderer

COUNSEL_CHAT = Path(__file__).parents[2] / "shared" / "data" / "counsel_chat" / "counsel_chat_2020_scrape.csv.gz"
SAMPLES = Path(__file__).parents[1] / "data" / "samples" / "support.csv"
RESULT = Path(__file__).with_name("results") / "token_equality.json"
ENGINES: tuple[tuple[EngineName, str], ...] = (
    ("ctranslate2", "float32"),
    ("openvino", "float32"),
    ("openvino", "int8"),
    ("openvino", "bfloat16"),
    ("ctranslate2", "int8"),
)
PROMPT_TOKENS, SCORED_TOKENS, AT_ONCE = 192, 64, 16
LENGTH_STEP = 16


def main() -> int:
    """Measure, print the table and write it down; 1 when a float32 engine differs by more than a tie."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--artifact", type=Path, help="an artifact that is there already, instead of --base")
    parser.add_argument("--prompts", type=int, default=200)
    parser.add_argument("--tokens", type=int, default=48)
    parser.add_argument("--compute-types", nargs="+", default=["float32", "int8"])
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = asked.artifact or Path(folder, "artifact")
        if not place.exists():
            subprocess.run([sys.executable, "-m", "trainer.base", asked.base, str(place)], check=True)
        artifact = load_artifact(place)
        engines = [engine for engine in ENGINES if engine[1] in asked.compute_types]
        rows = _compare(artifact, engines, asked.prompts, asked.tokens)
    origin = describe_origin("python -m benchmarks.token_equality " + " ".join(sys.argv[1:]))
    save_json(RESULT, {**origin, "prompts": asked.prompts, "tokens": asked.tokens, "rows": rows})
    return int(any(row["compute_type"] == "float32" and row["largest_gap"] > 1e-3 for row in rows))


def _compare(
    artifact: Artifact, engines: Sequence[tuple[EngineName, str]], n_prompts: int, tokens: int
) -> list[dict[str, Any]]:
    renderer = PromptRenderer(artifact)
    prompts, scored = _list_texts(renderer, n_prompts)
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(artifact.folder, dtype=torch.float32).eval()
    expected = _generate(model, renderer, prompts, tokens)
    known = _measure_perplexity([_score(model, renderer, prompt, reply) for prompt, reply in scored])
    print(f"transformers float32: {len(prompts)} prompts, perplexity {known:.3f} of {len(scored)} replies", flush=True)
    rows = []
    for name, compute_type in engines:
        engine = open_engine(artifact, renderer, name, compute_type)
        written = [one.token_ids for one in engine.generate(prompts, Sampling(max_tokens=tokens))]
        perplexity = _measure_perplexity(engine.score([prompt for prompt, _ in scored], [reply for _, reply in scored]))
        engine.close()
        gaps = [
            _measure_gap(model, renderer.list_ids(prompt), own, other)
            for prompt, own, other in zip(prompts, expected, written, strict=True)
            if own != other
        ]
        row = {
            "engine": name,
            "compute_type": compute_type,
            "equal": len(prompts) - len(gaps),
            "largest_gap": max(gaps, default=0.0),
            "tokens_before_they_part": _measure_agreement(expected, written),
            "perplexity": perplexity,
            "perplexity_against_transformers": perplexity / known - 1,
        }
        rows.append(row)
        print(
            f"{name:12} {compute_type:8} {row['equal']:4} of {len(prompts)} equal, gap up to {row['largest_gap']:.2g}, "
            f"{row['tokens_before_they_part']:.1%} of the tokens before they part, "
            f"perplexity {perplexity:.3f} ({row['perplexity_against_transformers']:+.2%})",
            flush=True,
        )
    return rows


def _list_texts(renderer: PromptRenderer, n_prompts: int) -> tuple[list[list[str]], list[tuple[list[str], list[str]]]]:
    """Prompts that share their length with others, and prompts with the beginnings of given replies."""
    table = pd.read_csv(COUNSEL_CHAT if COUNSEL_CHAT.exists() else SAMPLES)[["Context", "Response"]].dropna()
    by_length: defaultdict[int, list[list[str]]] = defaultdict(list)
    scored = []
    for context, response in table.drop_duplicates("Context").itertuples(index=False):
        messages: list[Message] = [{"role": "user", "content": " ".join(context.split())}]
        prompt = renderer.render(messages)
        if len(prompt) > PROMPT_TOKENS:
            continue
        prompt = prompt[len(prompt) % LENGTH_STEP :]
        by_length[len(prompt)].append(prompt)
        scored.append((prompt, renderer.tokenize_reply(messages, " ".join(response.split()))[:SCORED_TOKENS]))
    shared = sorted(by_length.values(), key=len, reverse=True)
    return [prompt for prompts in shared for prompt in prompts][:n_prompts], scored[: n_prompts // 2]


@torch.no_grad()
def _generate(
    model: PreTrainedModel, renderer: PromptRenderer, prompts: Sequence[list[str]], tokens: int
) -> list[list[int]]:
    written: list[list[int]] = []
    while len(written) < len(prompts):
        length = len(prompts[len(written)])
        group = [prompt for prompt in prompts[len(written) :][:AT_ONCE] if len(prompt) == length]
        ids = torch.tensor([renderer.list_ids(prompt) for prompt in group])
        output: torch.Tensor = model.generate(  # type: ignore[operator]
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=tokens,
            do_sample=False,
            eos_token_id=renderer.end_id,
            pad_token_id=renderer.end_id,
        )
        for row in output[:, length:].tolist():
            written.append(row[: row.index(renderer.end_id)] if renderer.end_id in row else row)
    return written


@torch.no_grad()
def _score(model: PreTrainedModel, renderer: PromptRenderer, prompt: list[str], reply: list[str]) -> list[float]:
    ids = torch.tensor([renderer.list_ids([*prompt, *reply])])
    logs = model(input_ids=ids).logits[0, len(prompt) - 1 : -1].log_softmax(-1)
    scores: list[float] = logs.gather(-1, ids[0, len(prompt) :, None])[:, 0].tolist()
    return scores


@torch.no_grad()
def _measure_gap(model: PreTrainedModel, prompt: list[int], own: list[int], other: list[int]) -> float:
    """How far apart the model's logits of the first two tokens that differ are; an end counts as infinitely far."""
    place = next((n for n, pair in enumerate(zip(own, other, strict=False)) if pair[0] != pair[1]), None)
    if place is None:
        return math.inf
    logits = model(input_ids=torch.tensor([[*prompt, *own[:place]]])).logits[0, -1]
    return float(logits[own[place]] - logits[other[place]])


def _measure_agreement(expected: Sequence[list[int]], written: Sequence[list[int]]) -> float:
    """The share of the expected tokens that stand before the first difference."""
    agreed = 0
    for own, other in zip(expected, written, strict=True):
        same = (a == b for a, b in zip(own, other, strict=False))
        agreed += next((n for n, is_same in enumerate(same) if not is_same), min(len(own), len(other)))
    return agreed / sum(map(len, expected))


def _measure_perplexity(scores: Sequence[Sequence[float]]) -> float:
    """exp of the mean negative log-probability of all tokens."""
    flat = [score for row in scores for score in row]
    return math.exp(-sum(flat) / len(flat))


if __name__ == "__main__":
    sys.exit(main())
