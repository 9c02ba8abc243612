"""A holder that was asleep past its lease finds the run in other hands: it stops, and nothing it wrote stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from data.vocabulary import RunStatus
from tests.faults.conftest import Target, Tell
from tests.faults.dose import IS_FULL
from tests.faults.history import History, list_faults
from tests.faults.test_kills import RECIPE, VICTIMS, open_database
from tests.processes import await_value

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not IS_FULL, reason="only with FAULT_DOSE=full; takes a minute")]


def send(process: psutil.Process, number: signal.Signals) -> None:
    """To the process and all its children."""
    for each in (process, *process.children(recursive=True)):
        os.kill(each.pid, number)


def test_stopped_past_the_lease(target: Target, tell: Tell) -> None:
    running, database = target.running, open_database(target.running)
    run_id = running.queue_run(**RECIPE)
    trainer = running.await_process(*VICTIMS["trainer"])
    sleeper = running.await_process(*VICTIMS["worker"])
    send(sleeper, signal.SIGSTOP)
    environment = running.environment | {"RATCHET_BROKER_URL": f"redis://127.0.0.1:{target.proxy.port}/0"}
    other = subprocess.Popen([sys.executable, "-m", "cli", "worker"], env=environment, stdin=subprocess.DEVNULL)
    try:
        await_value(lambda: running.get_run(run_id), lambda run: (run["attempt"], run["status"]) == (2, "training"))
        woken_s = time.monotonic()
        send(sleeper, signal.SIGCONT)
        await_value(trainer.is_running, lambda is_running: not is_running)
        fenced_s = time.monotonic() - woken_s
        run = running.await_end(run_id)
    finally:
        other.send_signal(signal.SIGTERM)
        other.wait(timeout=60)
    assert run["status"] in (RunStatus.SUCCEEDED, RunStatus.REFUSED)
    assert run["attempt"] == 2
    made = [row for row in running.admin.get("/v1/admin/versions").json()["data"] if row["run_id"] == run_id]
    assert len(made) == 1
    assert not (running.folder / "runs" / run_id / "attempt-1" / "report.json").exists()
    assert list_faults(History(run_ids=[run_id]), database) == []
    database.dispose()
    tell(
        f"worker and trainer asleep past the lease: fenced out {fenced_s:.1f} s after waking, one version, by attempt 2"
    )
