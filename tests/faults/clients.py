"""Clients that chat in streams and rate what they got, whatever happens, and write down what they were told."""

from __future__ import annotations

import json
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from tests.faults.history import History, SeenReply

_TEXTS = ("I cannot sleep.", "My week was long.", "I feel tired.", "I quarrelled with my sister.", "Work is too much.")


class BrokenReply(Exception):
    """A stream that ended without its end, told an error, or mixed versions."""


@dataclass(frozen=True)
class Caller:
    """Who calls where."""

    address: str
    headers: dict[str, str]
    max_tokens: int = 8


def read_stream(response: httpx.Response) -> SeenReply:
    """The reply of a stream whose every piece is looked at.

    Raises:
        BrokenReply: the stream is not whole, or not all of one version.
    """
    names, pieces, is_done, finish = set(), [], False, None
    for line in response.iter_lines():
        if not line.startswith("data: "):
            continue
        if line == "data: [DONE]":
            is_done = True
            continue
        chunk: dict[str, Any] = json.loads(line.removeprefix("data: "))
        if "choices" not in chunk:
            raise BrokenReply(f"error in a stream: {chunk}")
        names.add((chunk["id"], chunk["model"], chunk["system_fingerprint"]))
        pieces.append(chunk["choices"][0]["delta"].get("content") or "")
        finish = chunk["choices"][0]["finish_reason"] or finish
    if not is_done or finish is None:
        raise BrokenReply("truncated")
    version, digest = response.headers["X-Ratchet-Version"], response.headers["X-Ratchet-Digest"]
    if len(names) != 1 or {name[1:] for name in names} != {(f"ratchet-v{version}", digest)}:
        raise BrokenReply(f"mixed: {names} under the header {version}")
    return SeenReply(next(iter(names))[0], int(version), digest, "".join(pieces))


def chat_once(http: httpx.Client, history: History, text: str, max_tokens: int) -> SeenReply | None:
    """One streamed reply, written down if it came whole; None if it was refused in the way that faults allow."""
    body = {
        "messages": [{"role": "user", "content": text}],
        "stream": True,
        "max_tokens": max_tokens,
        "temperature": 0.8,
    }
    try:
        with http.stream("POST", "/v1/chat/completions", json=body) as response:
            if response.status_code != httpx.codes.OK:
                _note_refusal(history, response)
                return None
            reply = read_stream(response)
    except httpx.HTTPError as error:
        history.refuse(f"chat: {type(error).__name__}")
        return None
    except BrokenReply as error:
        if "database_unavailable" in str(error):  # told in the stream, for its status has left
            history.refuse("chat: database_unavailable")
        else:
            history.surprise(f"chat: {error}")
        return None
    history.add_reply(reply)
    return reply


def rate_once(http: httpx.Client, history: History, completion_id: str, rater: str, rating: str) -> bool:
    """Whether the rating was acknowledged."""
    body = {"completion_id": completion_id, "rating": rating, "user": rater}
    try:
        response = http.post("/v1/feedback", json=body)
    except httpx.HTTPError as error:
        history.refuse(f"rating: {type(error).__name__}")
        return False
    if response.status_code not in (httpx.codes.OK, httpx.codes.CREATED):
        _note_refusal(history, response)
        return False
    history.add_rating(completion_id, rater, rating)
    return True


def _note_refusal(history: History, response: httpx.Response) -> None:
    what = f"{response.request.url.path}: {response.status_code}"
    if response.status_code == httpx.codes.SERVICE_UNAVAILABLE and "Retry-After" in response.headers:
        history.refuse(what)
    else:
        response.read()
        history.surprise(f"{what} {response.text[:200]}")


@contextmanager
def keep_chatting(caller: Caller, history: History, clients: int, seed: int) -> Iterator[None]:
    """So many clients that chat and rate until the end of the context; a rating is repeated until acknowledged."""
    stop = threading.Event()

    def live(number: int) -> None:
        draw = random.Random(f"{seed}:{number}")
        with httpx.Client(base_url=caller.address, headers=caller.headers, timeout=60) as http:
            while not stop.is_set():
                reply = chat_once(http, history, draw.choice(_TEXTS), caller.max_tokens)
                if reply is None:
                    stop.wait(0.2)
                    continue
                rating = draw.choice(("up", "down"))
                while not rate_once(http, history, reply.completion_id, f"rater-{number}", rating):
                    if stop.wait(0.2):
                        break

    threads = [threading.Thread(target=live, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()
