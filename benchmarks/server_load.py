"""Closed streams of chat over HTTP, any server with OpenAI's chat completions, and the figures of what came back."""

from __future__ import annotations

import asyncio
import itertools
import json
import math
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

REPLY_TOKENS = 64
_PATH = "/v1/chat/completions"
_PRIME_S = 90.0
_AFTER_ERROR_S = 0.5  # a stream pauses, so that a server that fails at once is not asked thousands of times
_LOOK_S = 1.0  # between two looks at the memory


@dataclass(frozen=True)
class Target:
    """A server that answers."""

    url: str
    headers: dict[str, str] = field(default_factory=dict)
    model: str = "production"


@dataclass(frozen=True)
class Timing:
    """When things happen in one cell, in seconds from its start; requests leave until `until_s`."""

    from_s: float  # what is measured begins; before it is the warm-up
    until_s: float  # and ends
    end_s: float  # what is then unanswered is cut off


@dataclass
class Reply:
    """What became of one request, in seconds from the start of the cell."""

    prompt: str
    sent_s: float
    pieces: list[tuple[float, str]] = field(default_factory=list)  # when each came
    ended_s: float | None = None  # None: cut off, or failed
    error: str = ""

    @property
    def first_s(self) -> float | None:
        """When the first piece of text came, or the end of a reply without any."""
        return self.pieces[0][0] if self.pieces else self.ended_s

    @property
    def text(self) -> str:
        """As much of it as came."""
        return "".join(text for _, text in self.pieces)


@dataclass(frozen=True)
class Usage:
    """What the processes of a server used."""

    peak_bytes: int  # proportional set size of all of them together
    cpu_s: float  # processor time within the time that is measured


@dataclass(frozen=True)
class Wait:
    """How long one request waited; `is_over` is False when it was cut off still waiting."""

    seconds: float
    is_over: bool


async def ask_streams(
    target: Target, prompts: Sequence[str], streams: int, timing: Timing, processes: Callable[[], list[psutil.Process]]
) -> tuple[list[Reply], Usage]:
    """All replies to `streams` askers, each of whom asks again once answered, and what `processes` used for them."""
    queue, replies, started_s = itertools.cycle(prompts), list[Reply](), time.perf_counter()

    def clock() -> float:
        return time.perf_counter() - started_s

    limits = httpx.Limits(max_connections=streams, max_keepalive_connections=streams)
    async with httpx.AsyncClient(base_url=target.url, headers=target.headers, timeout=None, limits=limits) as client:

        async def live() -> None:
            while clock() < timing.until_s:
                replies.append(reply := Reply(next(queue), clock()))
                await _fill(reply, client, target.model, clock)
                if reply.error:
                    await asyncio.sleep(_AFTER_ERROR_S)

        watch = asyncio.create_task(_watch(processes, timing, clock))
        tasks = [asyncio.create_task(live()) for _ in range(streams)]
        _, late = await asyncio.wait(tasks, timeout=timing.end_s)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)
        return replies, await watch


def prime(target: Target, prompt: str) -> None:
    """Ask once and wait, for servers that load or reserve something at the first request.

    Raises:
        httpx.HTTPError: no reply came.
    """
    body = _build_body(target.model, prompt)
    httpx.post(target.url + _PATH, headers=target.headers, json=body, timeout=_PRIME_S).raise_for_status()


def _build_body(model: str, prompt: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": prompt}]
    return {"model": model, "messages": messages, "max_tokens": REPLY_TOKENS, "temperature": 0, "stream": True}


async def _fill(reply: Reply, client: httpx.AsyncClient, model: str, clock: Callable[[], float]) -> None:
    try:
        async with client.stream("POST", _PATH, json=_build_body(model, reply.prompt)) as answer:
            if answer.is_error:
                reply.error = f"{answer.status_code} {(await answer.aread()).decode()[:200]}"
                return
            async for line in _read_lines(answer):
                if text := read_event(line):
                    reply.pieces.append((clock(), text))
        reply.ended_s = clock()
    except (httpx.HTTPError, ValueError) as error:
        reply.error = f"{type(error).__name__}: {error}"


async def _read_lines(answer: httpx.Response) -> AsyncIterator[str]:
    """Lines as the servers mean them; httpx's own end at U+2028 too, which may stand within an event."""
    rest = b""
    async for piece in answer.aiter_bytes():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line.decode()


def read_event(line: str) -> str:
    """The text that a line of the stream adds to the reply.

    Raises:
        ValueError: the line tells of an error, or is none of OpenAI's.
    """
    content = line.removeprefix("data:").strip()
    if content in ("", "[DONE]") or not line.startswith("data:"):
        return ""
    event = json.loads(content)
    if "error" in event:
        raise ValueError(event["error"])
    return "".join(choice["delta"].get("content") or "" for choice in event.get("choices", ()))


async def _watch(processes: Callable[[], list[psutil.Process]], timing: Timing, clock: Callable[[], float]) -> Usage:
    """Look at the memory until the time that is measured is over."""
    peak_bytes, before_s = 0, math.nan
    while (now_s := clock()) < timing.until_s:
        if math.isnan(before_s) and now_s >= timing.from_s:
            before_s = sum_cpu_s(processes())
        peak_bytes = max(peak_bytes, await asyncio.to_thread(sum_memory, processes()))
        next_s = timing.from_s if now_s < timing.from_s < now_s + _LOOK_S else now_s + _LOOK_S
        await asyncio.sleep(max(0.0, min(next_s, timing.until_s) - clock()))
    return Usage(peak_bytes, sum_cpu_s(processes()) - before_s)


def sum_memory(processes: Sequence[psutil.Process]) -> int:
    """Proportional set size of all, in bytes; one that has ended has none."""
    return sum(_read(process, lambda found: int(found.memory_full_info().pss)) for process in processes)


def sum_cpu_s(processes: Sequence[psutil.Process]) -> float:
    """Processor time of all since they started, in seconds."""
    return sum(_read(process, lambda found: sum(found.cpu_times()[:2])) for process in processes)


def _read(process: psutil.Process, ask: Callable[[psutil.Process], float]) -> Any:
    try:
        return ask(process)
    except (psutil.NoSuchProcess, psutil.AccessDenied):  # ended between the two looks, or is about to
        return 0


def summarise(replies: Sequence[Reply], timing: Timing, count_tokens: Callable[[str], int]) -> dict[str, Any]:
    """Figures of the time that is measured: tokens in a second, milliseconds to the first text and to the end.

    A reply counts with the share of its tokens that came within that time, whole or not. A wait that was cut off
    counts as long as it was; a percentile that such waits may have lowered has `_at_least` true. None: of no request.
    """
    seen = [reply for reply in replies if not reply.error]
    firsts = list_waits(seen, timing, lambda reply: reply.first_s)
    wholes = list_waits(seen, timing, lambda reply: reply.ended_s)
    tokens = sum(count_within(reply, timing, count_tokens) for reply in seen)
    ended = [reply for reply in seen if reply.ended_s and timing.from_s <= reply.ended_s <= timing.until_s]
    return {
        "tokens_per_s": round(tokens / (timing.until_s - timing.from_s), 2),
        **_describe("first_ms_p50", firsts, 0.5),
        **_describe("first_ms_p95", firsts, 0.95),
        **_describe("whole_ms_p50", wholes, 0.5),
        "ended": len(ended),
        "ended_tokens_mean": round(sum(count_tokens(reply.text) for reply in ended) / max(1, len(ended)), 1),
        "cut_off": sum(reply.ended_s is None for reply in seen),
        "errors": sum(bool(reply.error) for reply in replies),
        "error": next((reply.error for reply in replies if reply.error), ""),
    }


def _describe(name: str, waits: Sequence[Wait], share: float) -> dict[str, Any]:
    if not waits:
        return {name: None, f"{name}_at_least": False}
    wait = find_percentile(waits, share)
    return {name: round(1000 * wait.seconds, 1), f"{name}_at_least": not wait.is_over}


def count_within(reply: Reply, timing: Timing, count_tokens: Callable[[str], int]) -> float:
    """The tokens of a reply that came within the time that is measured, its pieces taken as equally long."""
    within = sum(timing.from_s <= at_s <= timing.until_s for at_s, _ in reply.pieces)
    return count_tokens(reply.text) * within / len(reply.pieces) if within else 0.0


def list_waits(replies: Sequence[Reply], timing: Timing, find_end: Callable[[Reply], float | None]) -> list[Wait]:
    """The waits of all that were on their way after the warm-up, wherever in the cell they began."""
    waits = []
    for reply in replies:
        if reply.ended_s is None or reply.ended_s >= timing.from_s:
            end_s = find_end(reply)
            waits.append(Wait((timing.end_s if end_s is None else end_s) - reply.sent_s, end_s is not None))
    return waits


def find_percentile(waits: Sequence[Wait], share: float) -> Wait:
    """The wait that `share` of all do not exceed (nearest rank); not over: it is at least so long."""
    ordered = sorted(waits, key=lambda wait: wait.seconds)
    rank = max(1, math.ceil(share * len(ordered)))
    return Wait(ordered[rank - 1].seconds, all(wait.is_over for wait in ordered[:rank]))
