"""kill -9 of any process at random moments of full cycles: nothing acknowledged is lost, each run has one outcome."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil
import pytest

from data.vocabulary import RunStatus
from db.runs import find_active_run
from db.session import Database
from settings import Settings
from tests.faults.clients import keep_chatting
from tests.faults.conftest import Target, Tell
from tests.faults.dose import SEED, TAKES_MINUTES, choose_dose
from tests.faults.history import History, list_faults
from tests.processes import await_value, is_ready
from tests.stacks import LEARNS, Running
from worker.queue import build_celery, send_nudge

pytestmark = [pytest.mark.slow, TAKES_MINUTES]
NUDGES = 50
KILLS = choose_dose(4, 100)
VICTIMS = {"trainer": ("trainer",), "api": ("cli", "api"), "worker": ("cli", "worker"), "beat": ("cli", "beat")}
RESTARTS, WINDOW_S = 4, 125.0  # the stack gives up on a process that ends more often within its window
LONGEST_PAUSE_S = choose_dose(1.0, 4.0)
RECIPE = LEARNS | {"sft_epochs": 1, "max_holdout_rows": 8, "reply_tokens": 4}


@contextmanager
def keep_training(running: Running, history: History) -> Iterator[None]:
    """An admin who queues the next run as soon as one has ended."""
    stop = threading.Event()

    def live() -> None:
        seed = 0
        while not stop.wait(0.2):
            try:
                answer = running.admin.post("/v1/admin/runs", json={"recipe": RECIPE | {"seed": seed}})
            except httpx.HTTPError:
                continue
            if answer.status_code == httpx.codes.ACCEPTED:
                history.run_ids.append(answer.json()["id"])
                seed += 1
            elif answer.status_code != httpx.codes.CONFLICT:
                history.surprise(f"run: {answer.status_code} {answer.text[:200]}")

    thread = threading.Thread(target=live)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


class Nemesis:
    """Kills one process after another, at moments and in an order that the seed decides."""

    def __init__(self, running: Running, seed: int) -> None:
        self.killed: Counter[str] = Counter()
        self.recoveries_s: dict[str, list[float]] = {}
        self._running = running
        self._random = random.Random(seed)
        self._kills_s: dict[str, list[float]] = {}

    def strike(self, name: str | None = None) -> None:
        """Wait, kill, and wait until the stack has what it lost."""
        threading.Event().wait(self._random.uniform(0, LONGEST_PAUSE_S))
        name = name or self._choose()
        process = self._running.await_process(*VICTIMS[name])
        process.kill()
        killed_s = time.monotonic()
        self._kills_s.setdefault(name, []).append(killed_s)
        self.killed[name] += 1
        await_value(lambda: self._has_recovered(name, process), bool)
        self.recoveries_s.setdefault(name, []).append(time.monotonic() - killed_s)

    def _choose(self) -> str:
        now_s = time.monotonic()
        tired = {
            name
            for name, kills in self._kills_s.items()
            if name != "trainer" and sum(now_s - kill < WINDOW_S for kill in kills) >= RESTARTS
        }
        return self._random.choice([name for name in VICTIMS if name not in tired])

    def _has_recovered(self, name: str, killed: psutil.Process) -> bool:
        if name == "api":
            return is_ready(str(self._running.client.base_url))
        found = self._running.find_process(*VICTIMS[name])
        return found is not None and found.pid != killed.pid


def open_database(running: Running) -> Database:
    return Database(f"sqlite:///{running.folder / 'ratchet.db'}")


def await_quiet(database: Database) -> None:
    """Wait until no run is active."""

    def find() -> object:
        with database.reading() as session:
            return find_active_run(session)

    await_value(find, lambda run: run is None, timeout_s=280)


def test_kill_at_random_moments(target: Target, tell: Tell) -> None:
    running, history = target.running, History()
    nemesis, database = Nemesis(running, SEED), open_database(running)
    started_s = time.monotonic()
    with keep_chatting(target.caller, history, clients=2, seed=SEED):
        with keep_training(running, history):
            for name in list(VICTIMS)[:KILLS]:  # each at least once
                nemesis.strike(name)
            for _ in range(KILLS - len(VICTIMS)):
                nemesis.strike()
        await_quiet(database)
    assert list_faults(history, database) == []
    outcomes = Counter(str(running.get_run(run_id)["status"]) for run_id in history.run_ids)
    assert set(outcomes) <= {RunStatus.SUCCEEDED, RunStatus.REFUSED, RunStatus.FAILED}
    assert len(history.ratings) > KILLS
    database.dispose()
    slowest = {name: f"{max(seconds):.1f}" for name, seconds in nemesis.recoveries_s.items()}
    tell(
        f"{KILLS} kills {dict(nemesis.killed)} in {time.monotonic() - started_s:.0f} s: 0 of {len(history.ratings)} "
        f"ratings and 0 of {len(history.replies)} replies lost or doubled; {len(history.run_ids)} runs "
        f"{dict(outcomes)}, one outcome each; slowest return in s {slowest}"
    )


def test_kill_between_commit_and_enqueue_and_fifty_nudges(target: Target, tell: Tell) -> None:
    running, database = target.running, open_database(target.running)
    target.proxy.silence()  # so that the message cannot leave after the commit
    run_id = running.queue_run(**RECIPE)
    running.await_process(*VICTIMS["api"]).kill()
    target.proxy.restore()
    await_value(lambda: is_ready(str(running.client.base_url)), bool)
    ready_s = time.monotonic()
    await_value(lambda: running.get_run(run_id)["attempt"], lambda attempt: attempt >= 1)
    claimed_s = time.monotonic() - ready_s
    nudges = build_celery(Settings(_env_file=None, broker_url=f"redis://127.0.0.1:{target.broker.port}/0"))
    assert [send_nudge(run_id, nudges) for _ in range(NUDGES)] == [True] * NUDGES
    run = running.await_end(run_id)
    assert (run["status"], run["attempt"]) in ((RunStatus.SUCCEEDED, 1), (RunStatus.REFUSED, 1))
    assert [path.name for path in (running.folder / "runs" / run_id).iterdir()] == ["attempt-1"]
    assert list_faults(History(run_ids=[run_id]), database) == []
    nudges.close()
    database.dispose()
    tell(
        f"killed between commit and enqueue: claimed {claimed_s:.1f} s after the API's return; nudged {NUDGES} times "
        "more: 1 training, 1 outcome"
    )
