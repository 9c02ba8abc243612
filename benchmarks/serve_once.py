"""One engine under streams of strangers, in a process of its own so that its memory is its own; prints JSON.

    python -m benchmarks.serve_once ARTIFACT ENGINE STREAMS [--compute-type int8] [--swap]

`ENGINE` is `ctranslate2`, `openvino`, or `generate`: transformers' plain `generate`, one request after the other, as a
simple web handler calls it. The first two are asked through the queue that serves. Each stream sends its next prompt
when it has its reply, so requests come at all times.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import statistics
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from data.vocabulary import Message
from serving.artifact import load_artifact
from serving.engine import Sampling
from serving.handle import load_handle
from serving.prompt import PromptRenderer
from serving.scheduler import Scheduler
from serving.slot import ModelSlot

SAMPLES = Path(__file__).parents[1] / "data" / "samples" / "support.csv"
REPLY_TOKENS = 64
PROMPT_TOKENS = 128  # at most
SECONDS = 12.0  # during which requests leave
SWAP_AT_S = 4.0

Ask = Callable[[list[str], Callable[[], object]], int]  # calls the second for each piece; returns the reply's tokens


@dataclass(frozen=True)
class Reply:
    """When things happened to one request, in seconds from the start."""

    sent_s: float
    pieces_s: list[float]
    ended_s: float
    tokens: int


def list_prompts(renderer: PromptRenderer) -> list[list[str]]:
    """What people of the samples say, as the model reads it."""
    with SAMPLES.open(newline="") as file:
        texts = [row["Context"] for row in csv.DictReader(file)]
    chats: list[list[Message]] = [[{"role": "user", "content": text}] for text in texts]
    return [prompt for prompt in map(renderer.render, chats) if len(prompt) <= PROMPT_TOKENS]


def ask_streams(ask: Ask, prompts: list[list[str]], streams: int, at: dict[float, Callable[[], object]]) -> list[Reply]:
    """The replies to `streams` askers; `at` is done beside them, at its seconds."""
    started_s, lock, queue = time.perf_counter(), threading.Lock(), cycle(prompts)

    def live(_: int) -> list[Reply]:
        replies = []
        while (sent_s := time.perf_counter() - started_s) < SECONDS:
            with lock:
                prompt = next(queue)
            pieces_s: list[float] = []
            tokens = ask(prompt, lambda: pieces_s.append(time.perf_counter() - started_s))  # noqa: B023 - called in here
            replies.append(Reply(sent_s, pieces_s, time.perf_counter() - started_s, tokens))
        return replies

    timers = [threading.Timer(seconds, action) for seconds, action in at.items()]
    for timer in timers:
        timer.start()
    with ThreadPoolExecutor(streams) as pool:
        found = [reply for replies in pool.map(live, range(streams)) for reply in replies]
    for timer in timers:
        timer.join()
    return found


def summarise(replies: list[Reply]) -> dict[str, float]:
    """Figures of all requests: tokens in a second, milliseconds to the first piece and between pieces."""
    lasted_s = max(reply.ended_s for reply in replies)
    first_ms = [1000 * (reply.pieces_s[0] - reply.sent_s) for reply in replies if reply.pieces_s]
    each_ms = [
        1000 * (reply.ended_s - reply.pieces_s[0]) / (reply.tokens - 1)
        for reply in replies
        if reply.pieces_s and reply.tokens > 1
    ]
    return {
        "requests": len(replies),
        "tokens_per_s": sum(reply.tokens for reply in replies) / lasted_s,
        "first_ms_p50": statistics.median(first_ms),
        "first_ms_p95": float(np.percentile(first_ms, 95)),
        "each_ms_p50": statistics.median(each_ms),
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def measure_served(folder: Path, engine: Any, streams: int, swaps: bool, compute_type: str) -> dict[str, Any]:
    """The engine behind slot and queue, as the API asks it; with a swap to the same weights amid it if wanted."""
    slot = ModelSlot(compute_type, load=partial(load_handle, engine=engine))
    started_s = time.perf_counter()
    slot.swap(folder, 1)
    facts: dict[str, Any] = {"load_s": time.perf_counter() - started_s}
    scheduler = Scheduler(queue_limit=64, streams=64)
    sampling = Sampling(max_tokens=REPLY_TOKENS)

    def ask(prompt: list[str], note: Callable[[], object]) -> int:
        with slot.lease() as handle:
            ticket = scheduler.submit(handle, prompt, sampling)
        for _ in ticket:
            note()
        return ticket.result.reply_tokens

    def swap() -> None:
        facts["swap_s"] = slot.swap(folder, 2).load_s

    prompts = list_prompts(PromptRenderer(load_artifact(folder, verify=False)))
    replies = ask_streams(ask, prompts, streams, {SWAP_AT_S: swap} if swaps else {})
    scheduler.close()
    slot.close()
    pieces = np.histogram([at for reply in replies for at in reply.pieces_s], int(SECONDS), (0, SECONDS))[0]
    return {**facts, **summarise(replies), "pieces_each_second": pieces.tolist()}


def measure_generate(folder: Path, streams: int) -> dict[str, Any]:
    """transformers' `generate` in float32 on all cores, one request at a time."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.generation.streamers import BaseStreamer

    class Notes(BaseStreamer):  # type: ignore[misc]
        def __init__(self, note: Callable[[], object]) -> None:
            self.note, self.is_prompt = note, True

        def put(self, value: Any) -> None:  # noqa: ARG002 - of the prompt too, and what it is does not matter
            if not self.is_prompt:
                self.note()
            self.is_prompt = False

        def end(self) -> None:
            """Nothing is left to tell."""

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    renderer, lock = PromptRenderer(load_artifact(folder, verify=False)), threading.Lock()

    def ask(prompt: list[str], note: Callable[[], object]) -> int:
        ids = torch.tensor([renderer.list_ids(prompt)])
        with lock, torch.no_grad():
            mask = torch.ones_like(ids)
            options = {"max_new_tokens": REPLY_TOKENS, "do_sample": False, "attention_mask": mask}
            output = model.generate(ids, streamer=Notes(note), pad_token_id=renderer.end_id, **options)
        return int(output.shape[1] - ids.shape[1])

    return summarise(ask_streams(ask, list(islice(list_prompts(renderer), 200)), streams, {}))


def main() -> None:
    """Print the figures of one cell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve_once", description=__doc__)
    parser.add_argument("artifact", type=Path)
    parser.add_argument("engine", choices=["ctranslate2", "openvino", "generate"])
    parser.add_argument("streams", type=int)
    parser.add_argument("--compute-type", default="float32", choices=["float32", "int8"], help="not of generate")
    parser.add_argument("--swap", action="store_true")
    asked = parser.parse_args()
    if asked.engine == "generate":
        print(json.dumps(measure_generate(asked.artifact, asked.streams)))
    else:
        figures = measure_served(asked.artifact, asked.engine, asked.streams, asked.swap, asked.compute_type)
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
