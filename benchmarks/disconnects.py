"""Clients that go away at random moments: does the memory of the server grow, does a slot stay taken?

    python -m benchmarks.disconnects [--replies 10000] [--prefix-cache-mb 16]

The embedded stack on a tiny model; every reply is streamed to one of 16 clients, of which half read it to its end and
half hang up after a random number of bytes, some before the first. The first fifth is the warm-up, in which the prefix
cache fills up: it is small enough for that. Exit code 1 when the memory grew by more than 2 % after it, a slot stayed
taken, a whole reply was not whole, or the next client was not served.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from benchmarks.provenance import describe_origin, save_json
from tests.stacks import Running, run_stack

RESULT = Path(__file__).with_name("results") / "disconnects.json"
CLIENTS = 16
LOOK_EVERY = 100  # replies between two looks at the memory
MOST_BYTES = 6000  # of a reply that is left early; the whole of one has more
MOST_GROWTH = 0.02
SEED = 1


class Crowd:
    """Clients that stream replies one after the other, and what became of them."""

    def __init__(self, running: Running, server: psutil.Process, replies: int) -> None:
        self._address = urlsplit(str(running.client.base_url))
        self._key = running.client.headers["Authorization"]
        self._server = server
        self._left = replies
        self._random = random.Random(SEED)
        self.whole = self.left_early = self.broken = 0
        self.bytes_resident: list[int] = []

    async def ask_all(self) -> None:
        """Ask for all replies."""
        await asyncio.gather(*(self._live() for _ in range(CLIENTS)))

    async def _live(self) -> None:
        while self._left > 0:
            self._left -= 1
            if self._left % LOOK_EVERY == 0:
                self.bytes_resident.append(self._server.memory_info().rss)
            await self._ask(None if self._random.random() < 0.5 else self._random.randrange(MOST_BYTES))

    async def _ask(self, most_bytes: int | None) -> None:
        """One reply, to its end or until so many bytes have come."""
        body = {
            "messages": [{"role": "user", "content": f"I cannot sleep, for the {self._left}th night."}],
            "stream": True,
            "max_tokens": 64,
        }
        content = json.dumps(body).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: ratchet\r\nAuthorization: {self._key}\r\n"
            f"Connection: close\r\nContent-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection(self._address.hostname, self._address.port)
        writer.write(head.encode() + content)
        await writer.drain()
        if most_bytes is None:
            answer = await reader.read(-1)
            self.whole += b"[DONE]" in answer
            self.broken += b"[DONE]" not in answer
        else:
            self.left_early += 1
            while most_bytes > 0 and (piece := await reader.read(min(most_bytes, 512))):
                most_bytes -= len(piece)
        writer.close()


def measure(root: Path, replies: int, prefix_cache_mb: int) -> dict[str, float | list[float]]:
    """Ask for `replies` and return the figures."""
    limits = {"rate_per_minute": 10**6, "rate_burst": 10**6, "queue_limit": 1000, "prefix_cache_mb": prefix_cache_mb}
    with run_stack(root, pages=False, **limits) as running:
        crowd = Crowd(running, running.await_process("cli", "api"), replies)
        started_s = time.monotonic()
        asyncio.run(crowd.ask_all())
        seconds = time.monotonic() - started_s
        time.sleep(5)
        gauges = running.client.get("/metrics").text.splitlines()
        taken = sum(float(line.split()[1]) for line in gauges if line.startswith(("ratchet_chat_w", "ratchet_chat_r")))
        next_reply = running.chat("And now?")
    fifth = len(crowd.bytes_resident) // 5
    fifths = [statistics.median(crowd.bytes_resident[start : start + fifth]) for start in range(0, 5 * fifth, fifth)]
    early, late = fifths[1], fifths[-1]
    return {
        "whole": crowd.whole,
        "left_early": crowd.left_early,
        "broken": crowd.broken,
        "seconds": round(seconds, 1),
        "slots_taken_after_5_s": taken,
        "next_client_served": bool(next_reply["usage"]["completion_tokens"]),
        "megabytes_by_fifth": [round(each / 1e6, 1) for each in fifths],
        "growth": round(late / early - 1, 4),
    }


def main() -> int:
    """0 when all held."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--replies", type=int, default=10_000)
    parser.add_argument("--prefix-cache-mb", type=int, default=16)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measure(Path(folder), arguments.replies, arguments.prefix_cache_mb)
    for name, value in figures.items():
        print(f"{name:24} {value}")
    save_json(RESULT, {**describe_origin("python -m benchmarks.disconnects " + " ".join(sys.argv[1:])), **figures})
    is_clean = not figures["broken"] and not figures["slots_taken_after_5_s"] and figures["next_client_served"]
    return 0 if is_clean and figures["growth"] <= MOST_GROWTH else 1


if __name__ == "__main__":
    sys.exit(main())
