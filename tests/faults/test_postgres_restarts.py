"""PostgreSQL restarts and crashes under load: no acknowledged write is lost, and clients are told to try again."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from db.session import Database
from migrations.upgrade import upgrade_database
from settings import Settings
from tests.faults.clients import Caller, keep_chatting
from tests.faults.conftest import Tell, crash_and_start
from tests.faults.dose import SEED, TAKES_MINUTES, choose_dose
from tests.faults.history import History, list_faults
from tests.processes import await_value, is_ready, run_api
from tests.unit.api.live import Artifacts, add_base_version, add_callers

pytestmark = [pytest.mark.slow, TAKES_MINUTES]
LASTS_S = choose_dose(15.0, 300.0)
PAUSE_S = choose_dose((1.0, 3.0), (5.0, 20.0))  # between restarts
DOWN_S = choose_dose(1.0, 5.0)  # at most, each time


def test_restarts_under_load(server: Any, settings: Settings, artifacts: Artifacts, tmp_path: Path, tell: Tell) -> None:
    url = server.get_uri()
    upgrade_database(url)
    database, history, draw = Database(url), History(), random.Random(SEED)
    add_base_version(database, artifacts)
    headers = add_callers(database).client
    ends: Counter[str] = Counter()
    with run_api(settings, tmp_path / "log", database_url=url, pages=False, rate_per_minute=1e6) as (address, process):
        with keep_chatting(Caller(address, headers), history, clients=4, seed=SEED):
            until_s = time.monotonic() + LASTS_S
            while time.monotonic() < until_s:
                threading.Event().wait(draw.uniform(*PAUSE_S))
                ends[crash_and_start(server, draw, DOWN_S)] += 1
            back = len(history.ratings)
            await_value(lambda: len(history.ratings), lambda count: count > back + 8)
        assert process.is_running()
        assert is_ready(address)
    assert list_faults(history, database) == []
    database.dispose()
    refusals = Counter(history.refusals)
    tell(
        f"PostgreSQL {dict(ends)} in {LASTS_S:.0f} s: 0 of {len(history.replies)} replies and 0 of "
        f"{len(history.ratings)} ratings lost; refused with 503 and Retry-After: {dict(refusals)}; no other error"
    )
