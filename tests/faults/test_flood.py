"""One key floods while training runs on the same machine; others' replies do not wait for it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from itertools import islice
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from data.vocabulary import KeyRole
from db.keys import create_key
from db.session import Database
from settings import Settings
from tests.faults.clients import Caller
from tests.faults.conftest import Tell
from tests.faults.dose import TAKES_MINUTES, choose_dose
from tests.orders import write_order
from tests.processes import run_api
from tests.unit.api.live import QUESTION, Artifacts, Headers, add_base_version, add_callers
from worker.errors import TrainerKilled
from worker.trainer_process import TrainerProcess

REPLIES = choose_dose(40, 500)
WARMING = 10
IN_BURST = choose_dose(30, 60)
CONNECTIONS = choose_dose(8, 64)  # of the flooder
BURST, PER_MINUTE = 30, 60


def add_polite_keys(database: Database) -> Iterator[Headers]:
    """Headers of ever other clients, who ask so little each that no limit is theirs."""
    while True:
        with database.transaction() as session:
            _, secret = create_key(session, KeyRole.CLIENT, "polite")
        for _ in range(BURST // 2):
            yield {"Authorization": f"Bearer {secret}"}


def measure(address: str, keys: Iterator[Headers], count: int = REPLIES) -> list[float]:
    """How long each of so many short replies to polite clients took, in ms, the fastest first."""
    times = []
    with httpx.Client(base_url=address, timeout=60) as http:
        for headers in islice(keys, count):
            started_s = time.monotonic()
            http.post("/v1/chat/completions", json=QUESTION, headers=headers).raise_for_status()
            times.append((time.monotonic() - started_s) * 1000)
    return sorted(times)


@contextmanager
def flood(caller: Caller) -> Iterator[dict[str, int]]:
    """Ask with one key as fast as it goes, from another process; at the end, the answers by status."""
    place = urlsplit(caller.address)
    command = [sys.executable, "-m", "tests.faults.flooder", str(place.hostname), str(place.port), str(CONNECTIONS)]
    statuses: dict[str, int] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin
        process.stdin.write(caller.headers["Authorization"].removeprefix("Bearer ") + "\n")
        process.stdin.flush()
        yield statuses
        statuses |= json.loads(process.communicate()[0])


@contextmanager
def train(folder: Path, base: Path) -> Iterator[None]:
    """A trainer at its work, from its first step on and until the end of the context."""
    recipe = {
        "method": "sft",
        "sft_epochs": 100,
        "preference_epochs": 0,
        "trainable": "full",
        "sft_learning_rate": 1e-6,
    }
    pace = {"batch_size": 2, "early_stopping_patience": 0}
    write_order(folder, base, examples=100, rated=0, **recipe, **pace)
    has_begun = threading.Event()

    def listen(trainer: TrainerProcess) -> None:
        with suppress(TrainerKilled):  # as it is at the end
            for event in trainer.events():
                if event["event"] == "progress":
                    has_begun.set()

    with TrainerProcess(folder) as trainer, ThreadPoolExecutor() as threads:
        listening = threads.submit(listen, trainer)
        while not has_begun.wait(0.1):
            assert not listening.done()
        yield
        assert not listening.done()
        trainer.kill()


@TAKES_MINUTES
def test_a_flood_by_one_key(settings: Settings, artifacts: Artifacts, tmp_path: Path, tell: Tell) -> None:
    database = Database(settings.database)
    add_base_version(database, artifacts)
    flooder, keys = add_callers(database).client, add_polite_keys(database)
    limits = {"rate_burst": BURST, "rate_per_minute": PER_MINUTE, "pages": False}
    with run_api(settings, tmp_path / "log", **limits) as (address, _):
        measure(address, keys, WARMING)  # the first replies are slower
        alone = measure(address, keys)
        with train(tmp_path / "run", artifacts.root / artifacts.folders[0]):
            quiet = measure(address, keys)
            started_s = time.monotonic()
            with flood(Caller(address, flooder)) as statuses:
                burst = measure(address, keys, IN_BURST)  # while the flooder still has its own burst of replies
                flooded = measure(address, keys)
            lasted_s = time.monotonic() - started_s
    database.dispose()
    assert set(statuses) == {"200", "429"}
    assert statuses["200"] <= BURST + lasted_s * PER_MINUTE / 60 + 1
    tell(
        f"{statuses['429']} of {sum(statuses.values())} calls by one key over {CONNECTIONS} connections got 429, in "
        f"{lasted_s:.1f} s; p50 and p99 of {REPLIES} replies to other keys: {describe(alone)} alone, "
        f"{describe(quiet)} beside training, {describe(flooded)} beside training in the flood; slowest of {IN_BURST} "
        f"at its beginning {burst[-1]:.0f} ms"
    )


def describe(times: list[float]) -> str:
    return f"{times[len(times) // 2]:.0f} and {times[math.ceil(0.99 * len(times)) - 1]:.0f} ms"
