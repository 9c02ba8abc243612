"""Swaps under streaming clients: no error, no torn reply, and every reply by the version that its header names."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import httpx
import pytest

from db.promotions import promote
from db.session import Database
from settings import Settings
from tests.faults.clients import Caller, keep_chatting
from tests.faults.conftest import Tell
from tests.faults.dose import SEED, choose_dose
from tests.faults.history import History, list_faults
from tests.unit.api.live import Artifacts, add_first_version, serve, start_app

SWAPS = choose_dose(10, 50)
CLIENTS = 8
QUESTION = {"messages": [{"role": "user", "content": "I cannot sleep."}], "max_tokens": 8, "temperature": 0}
PROBES = choose_dose(20, 100)


def probe(caller: Caller, count: int, before_each: Callable[[int], None]) -> list[float]:
    """Seconds of each of `count` requests, one after another."""
    seconds = []
    with httpx.Client(base_url=caller.address, headers=caller.headers, timeout=60) as http:
        for number in range(count):
            before_each(number)
            started_s = time.monotonic()
            http.post("/v1/chat/completions", json=QUESTION).raise_for_status()
            seconds.append(time.monotonic() - started_s)
    return seconds


@pytest.mark.slow
def test_swaps_under_load(settings: Settings, artifacts: Artifacts, tell: Tell) -> None:
    settings = settings.model_copy(update={"rate_per_minute": 1e6, "poll_s": 0.05})
    history, database = History(), Database(settings.database)
    with start_app(settings, artifacts) as live, serve(live.app) as address:
        add_first_version(database, artifacts)
        caller, watch = Caller(address, live.callers.client, max_tokens=24), live.services.watch

        def swap(number: int) -> None:
            if number < SWAPS:
                with database.transaction() as session:
                    promote(session, 1 - number % 2, "manual", "A test.", "test")
                watch.look()

        with keep_chatting(caller, history, CLIENTS, SEED):
            quiet_s = probe(caller, PROBES, lambda _: None)
            swapping_s = probe(caller, max(SWAPS, PROBES), swap)
        served = live.services.slot.current
    assert served is not None
    assert served.version == 1 - (SWAPS - 1) % 2
    assert history.refusals == []
    assert list_faults(history, database) == []
    versions = {reply.version for reply in history.replies.values()}
    assert versions == {0, 1}
    database.dispose()
    quiet, swapping = (statistics.quantiles(seconds, n=100)[98] for seconds in (quiet_s, swapping_s))
    tell(
        f"{SWAPS} swaps under {CLIENTS} streaming clients: {len(history.replies)} replies, 0 errors, 0 truncated, "
        f"0 mixed, header = content = row; p99 of a short reply {quiet * 1000:.0f} ms quiet, {swapping * 1000:.0f} ms "
        "with swaps"
    )
