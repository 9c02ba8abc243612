"""What the prefix cache spares: milliseconds to the first token, turn by turn of conversations.

    python -m benchmarks.conversations ARTIFACT

Several conversations take turns, one request at a time: what people of the samples say, and the model's own replies,
all read again in each turn. The same is asked with the cache and without, alternately, and has to give the same
replies.
"""

from __future__ import annotations

import argparse
import csv
import statistics
import time
from collections import defaultdict
from pathlib import Path

from benchmarks.provenance import describe_origin, save_json
from benchmarks.serve_once import SAMPLES
from data.vocabulary import Message
from serving.artifact import load_artifact
from serving.engine import Engine, Sampling
from serving.engines import open_engine
from serving.prompt import PromptRenderer

RESULT = Path(__file__).with_name("results") / "conversations.json"
CACHE_BYTES = {"without": 0, "with": 256 * 10**6}  # the second is what `RATCHET_PREFIX_CACHE_MB` is by default
SYSTEM = "You listen to people who feel unwell. You are kind and brief, you never diagnose, and you never name a dose."
CONVERSATIONS = 6
TURNS = 5
REPLY_TOKENS = 32


def ask(engine: Engine, prompt: list[str]) -> tuple[list[int], float]:
    """The reply and the milliseconds to its first token."""
    times_s: list[float] = []

    def note(*_: int) -> bool:
        times_s.append(time.perf_counter())
        return False

    started_s = time.perf_counter()
    reply = engine.generate([prompt], Sampling(REPLY_TOKENS), note)[0]
    return reply.token_ids, 1000 * (times_s[0] - started_s)


def main() -> None:
    """Print and keep the medians of each turn."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.conversations", description=__doc__)
    parser.add_argument("artifact", type=Path)
    artifact = load_artifact(parser.parse_args().artifact)
    renderer = PromptRenderer(artifact)
    with SAMPLES.open(newline="") as file:
        texts = [row["Context"] for row in csv.DictReader(file)][: CONVERSATIONS * TURNS]
    engines = {
        name: open_engine(artifact, renderer, "openvino", prefix_cache_bytes=size) for name, size in CACHE_BYTES.items()
    }
    chats: list[list[Message]] = [[{"role": "system", "content": SYSTEM}] for _ in range(CONVERSATIONS)]
    first_ms: dict[str, list[list[float]]] = defaultdict(lambda: [[] for _ in range(TURNS)])
    lengths: list[list[int]] = [[] for _ in range(TURNS)]
    differing = 0
    for turn in range(TURNS):
        for chat in chats:
            chat.append({"role": "user", "content": texts.pop()})
            prompt = renderer.render(chat)
            lengths[turn].append(len(prompt))
            order = list(engines) if len(texts) % 2 else list(reversed(engines))
            replies = {}
            for name in order:
                replies[name], spent_ms = ask(engines[name], prompt)
                first_ms[name][turn].append(spent_ms)
            differing += replies["with"] != replies["without"]
            chat.append({"role": "assistant", "content": renderer.decode(replies["without"])})
    table = {name: [round(statistics.median(turns), 1) for turns in values] for name, values in first_ms.items()}
    tokens = [round(statistics.median(values)) for values in lengths]
    print("turn, prompt tokens, ms to the first token without and with the cache (medians)")
    for turn in range(TURNS):
        print(f"{turn + 1:4} {tokens[turn]:6} {table['without'][turn]:8.0f} {table['with'][turn]:8.0f}")
    print(f"{differing} of {CONVERSATIONS * TURNS} replies differ")
    facts = {"conversations": CONVERSATIONS, "prompt_tokens": tokens, "first_ms": table, "differing": differing}
    save_json(RESULT, {**describe_origin("python -m benchmarks.conversations ARTIFACT"), **facts})


if __name__ == "__main__":
    main()
