"""The pages on a large database: first paint of `/`, page handlers, and the queries that fill the dashboard.

    python benchmarks/ui_latency.py [--completions 100000] [--requests 30] [--paints 7]

The server is one process, as `ratchet api`, with a tiny model; SQLite holds the completions. Chromium paints on the
same machine. A page handler's time is that of its GET over loopback, all of the server included; first paint is the
browser's `first-contentful-paint`, without and with the assets in its cache.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import httpx
import numpy as np
import psutil
from playwright.sync_api import Browser
from rich.console import Console
from rich.table import Table
from sqlalchemy import insert
from sqlalchemy.orm import Session

from data.vocabulary import KeyRole, Message, Rating
from db import overview
from db.completions import list_conversations
from db.keys import create_key
from db.models import Completion, Conversation, Feedback
from db.reviews import find_next_review
from db.session import Database
from db.versions import ensure_base_version
from migrations.upgrade import upgrade_database
from settings import Settings
from tests.processes import run_api
from tests.tiny import build_tiny_gpt2
from tests.ui.browsing import open_browser
from trainer.base import prepare_base

RESULT = Path(__file__).with_name("results") / "ui.json"
PAINT_GOAL_MS, HANDLER_GOAL_MS = 1500.0, 50.0
USER = "Ann"
PAGES = ("/", "/review", "/dashboard", "/dashboard/runs", "/dashboard/versions", "/dashboard/data")
_DAY_S = 86_400.0
_TURNS = 4  # replies of a conversation
_ROWS_AT_ONCE = 5_000
_RATED_SHARE = 0.4
_SENTENCE = "I lie awake until four and go through everything that could go wrong at work tomorrow. "


def main() -> None:
    """Fill a database, measure, print the table and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--completions", type=int, default=100_000)
    parser.add_argument("--requests", type=int, default=30)
    parser.add_argument("--paints", type=int, default=7)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(var=Path(folder), artifacts_url=f"{folder}/artifacts", broker_url="", _env_file=None)
        database = Database(settings.database)
        key_id, secret = _fill(settings, database, arguments.completions)
        figures = {"queries_ms": _time_queries(database, key_id)}
        with run_api(settings, Path(folder) / "api.log") as (address, server), open_browser() as browser:
            figures |= _time_pages(address, secret, arguments.requests, server)
            figures |= _time_paints(browser, address, secret, arguments.paints)
        database.dispose()
    _report(figures, arguments.completions)


def _fill(settings: Settings, database: Database, completions: int) -> tuple[str, str]:
    """The id and secret of an admin's key, under which all was served."""
    upgrade_database(settings.database)
    base = build_tiny_gpt2(settings.var / "base", layers=1)
    digest = prepare_base(str(base), settings.artifacts / "base")
    with database.transaction() as session:
        ensure_base_version(session, digest, "base", "tiny")
        key, secret = create_key(session, KeyRole.ADMIN, "bench")
    generator = np.random.default_rng(0)
    for first in range(0, completions, _ROWS_AT_ONCE):
        with database.transaction() as session:
            _add_rows(session, key.id, range(first, min(first + _ROWS_AT_ONCE, completions)), completions, generator)
    return key.id, secret


def _add_rows(session: Session, key_id: str, numbers: range, total: int, generator: np.random.Generator) -> None:
    now_s = time.time()
    completions, conversations, ratings = [], [], []
    for number in numbers:
        conversation, turn = divmod(number, _TURNS)
        at_s = now_s - 60 * _DAY_S * (1 - number / total)
        user = USER if conversation % 1_000 == 0 else f"user-{conversation % 2_000}"
        if turn == 0:
            conversations.append(
                {"key_id": key_id, "id": f"conv-{conversation}", "end_user": user, "created_at_s": at_s}
            )
        completions.append(_build_completion(key_id, number, at_s))
        if generator.random() < _RATED_SHARE:
            ratings.append(_build_rating(number, user, at_s, is_up=bool(generator.random() < 0.6)))
    session.execute(insert(Conversation), conversations)
    session.execute(insert(Completion), completions)
    session.execute(insert(Feedback), ratings)


def _build_completion(key_id: str, number: int, at_s: float) -> dict[str, Any]:
    conversation, turn = divmod(number, _TURNS)
    roles = ["user", "assistant"] * turn + ["user"]
    return {
        "id": f"chatcmpl-{number}",
        "key_id": key_id,
        "conversation_id": f"conv-{conversation}",
        "messages": [Message(role=role, content=_SENTENCE * 2) for role in roles],
        "reply": _SENTENCE * 4,
        "version_number": 0,
        "digest": "0",
        "sampling": {},
        "finish_reason": "stop",
        "prompt_tokens": 40,
        "reply_tokens": 60,
        "is_crisis": False,
        "latency_s": 1.0,
        "created_at_s": at_s,
    }


def _build_rating(number: int, user: str, at_s: float, *, is_up: bool) -> dict[str, Any]:
    return {
        "completion_id": f"chatcmpl-{number}",
        "rater": user,
        "rater_kind": "end_user",
        "rating": Rating.UP if is_up else Rating.DOWN,
        "reasons": [],
        "scores": {},
        "created_at_s": at_s,
        "updated_at_s": at_s,
    }


def _time_queries(database: Database, key_id: str) -> dict[str, float]:
    """Median of each query that fills a place, in milliseconds; they run in threads, beside the event loop."""
    since_s = time.time() - 30 * _DAY_S
    queries: dict[str, Callable[[Session], object]] = {
        "conversations of a person": lambda session: list_conversations(session, key_id, USER, 40),
        "ratings by day": lambda session: overview.count_ratings_by_day(session, since_s),
        "ratings by version": lambda session: overview.count_ratings_by_version(session, since_s),
        "raters": lambda session: overview.list_raters(session, 100),
        "next review": lambda session: find_next_review(session, key_id, 2),
    }
    return {name: _median_ms(lambda query=query: _read(database, query), 7) for name, query in queries.items()}


def _read(database: Database, query: Callable[[Session], object]) -> None:
    with database.reading() as session:
        query(session)


def _time_pages(address: str, secret: str, requests: int, server: psutil.Process) -> dict[str, Any]:
    """Wall time of each page's GET, and the processor time that the server spends on it, which load does not change."""
    with httpx.Client(base_url=address, timeout=30, follow_redirects=True) as client:
        client.post("/sign-in", data={"key": secret, "name": USER}).raise_for_status()
        times: dict[str, dict[str, float]] = {}
        for page in PAGES:
            client.get(page).raise_for_status()
            before_s = sum(server.cpu_times()[:2])
            measured = sorted(_time_ms(lambda page=page: client.get(page).raise_for_status()) for _ in range(requests))
            cpu_ms = 1000 * (sum(server.cpu_times()[:2]) - before_s) / requests
            times[page] = {
                "p50": statistics.median(measured),
                "p95": measured[int(0.95 * (requests - 1))],
                "processor": cpu_ms,
            }
    return {"page_ms": times}


def _time_paints(browser: Browser, address: str, secret: str, paints: int) -> dict[str, Any]:
    """First paint of `/` in new browser contexts, and again in the same ones with the assets cached."""
    cold, warm, filled = [], [], []
    for _ in range(paints):
        context = browser.new_context(viewport={"width": 1280, "height": 800})
        page = context.new_page()
        context.request.post(f"{address}/sign-in", form={"key": secret, "name": USER}, max_redirects=0)
        for paint_ms in (cold, warm):
            started_s = time.monotonic()
            page.goto(f"{address}/")
            page.wait_for_selector("#message")
            page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
            paint_ms.append(page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime"))
            page.wait_for_selector(".side nav a")
        filled.append(1000 * (time.monotonic() - started_s))
        context.close()
    return {
        "first_paint_ms": {
            "cold": statistics.median(cold),
            "warm": statistics.median(warm),
            "worst": max(*cold, *warm),
        },
        "list_of_conversations_ms": statistics.median(filled),
    }


def _median_ms(act: Callable[[], object], times: int) -> float:
    return statistics.median(_time_ms(act) for _ in range(times))


def _time_ms(act: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - started_s)


def _report(figures: dict[str, Any], completions: int) -> None:
    table = Table("what", "ms", "goal", box=None)
    for name, value in _list_lines(figures):
        table.add_row(name, f"{value:.1f}", _find_goal(name))
    Console().print(f"{completions:,} completions", table)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout
    result = {
        "command": " ".join(["python", "benchmarks/ui_latency.py", *sys.argv[1:]]),
        "commit": commit.strip(),
        "made_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "load": os.getloadavg()[0]},
        "completions": completions,
        **figures,
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


def _list_lines(figures: dict[str, Any]) -> Iterator[tuple[str, float]]:
    yield "first paint of /, nothing cached", figures["first_paint_ms"]["cold"]
    yield "first paint of /, assets cached", figures["first_paint_ms"]["warm"]
    yield "first paint of /, worst of all", figures["first_paint_ms"]["worst"]
    yield "until the list of conversations is there", figures["list_of_conversations_ms"]
    for page, times in figures["page_ms"].items():
        yield f"GET {page}, p50", times["p50"]
        yield f"GET {page}, p95", times["p95"]
        yield f"GET {page}, processor", times["processor"]
    for name, value in figures["queries_ms"].items():
        yield f"query: {name}", value


def _find_goal(name: str) -> str:
    if name.startswith("first paint"):
        return f"< {PAINT_GOAL_MS:.0f}"
    return f"< {HANDLER_GOAL_MS:.0f}" if name.startswith("GET") else ""


if __name__ == "__main__":
    main()
