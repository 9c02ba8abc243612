"""The broker loses everything, restarts, resets and falls silent: chat and ratings go on, and every run ends."""

from __future__ import annotations

import threading
import time

import pytest
from redis import Redis

from data.vocabulary import RunStatus
from tests.faults.clients import keep_chatting
from tests.faults.conftest import Target, Tell
from tests.faults.dose import SEED, TAKES_MINUTES, choose_dose
from tests.faults.history import History, list_faults
from tests.faults.test_kills import RECIPE, open_database
from tests.processes import await_value

pytestmark = [pytest.mark.slow, TAKES_MINUTES]
SILENT_S = choose_dose(5.0, 60.0)
RESETS, RESETS_S = 5, 3.0


def restart(target: Target) -> None:
    """On the same port, and empty."""
    target.broker.terminate()
    target.broker.start()


def await_claim(target: Target, run_id: str) -> float:
    """Seconds until a worker has the run."""
    started_s = time.monotonic()
    await_value(lambda: target.running.get_run(run_id)["attempt"], lambda attempt: attempt >= 1)
    return time.monotonic() - started_s


def test_chat_and_runs_outlive_the_broker(target: Target, tell: Tell) -> None:
    running, history, pause = target.running, History(), threading.Event()
    database = open_database(running)
    with keep_chatting(target.caller, history, clients=2, seed=SEED):
        target.proxy.silence()
        history.run_ids.append(running.queue_run(**RECIPE))
        pause.wait(SILENT_S)
        served = len(history.replies)
        target.proxy.restore()
        claimed_s = await_claim(target, history.run_ids[0])
        with Redis(port=target.broker.port) as redis:
            redis.flushall()
        for _ in range(RESETS):
            pause.wait(RESETS_S / RESETS)
            target.proxy.reset()
        first = running.await_end(history.run_ids[0])
        restart(target)
        history.run_ids.append(running.queue_run(**RECIPE))
        after_restart_s = await_claim(target, history.run_ids[1])
        second = running.await_end(history.run_ids[1])
    judged = (RunStatus.SUCCEEDED, RunStatus.REFUSED)
    assert first["status"] in judged, first["reason"]
    assert second["status"] in judged, second["reason"]
    assert served > 0
    assert history.refusals == []
    assert list_faults(history, database) == []
    database.dispose()
    tell(
        f"broker silent for {SILENT_S:.0f} s: {served} replies meanwhile, the next task {claimed_s:.1f} s after its "
        f"return; FLUSHALL, {RESETS} resets, restart: next task {after_restart_s:.1f} s later; {len(history.replies)} "
        f"replies and {len(history.ratings)} ratings, 0 refused, 0 lost; 2 of 2 runs ended"
    )
