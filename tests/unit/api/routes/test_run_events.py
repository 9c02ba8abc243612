"""A run followed from its queue to its outcome."""

from __future__ import annotations

import json
import threading

import httpx

from data.vocabulary import RunStatus
from db.runs import claim_run, finish_run, set_status
from tests.unit.api.live import Live, serve


def test_tells_each_change_and_ends_with_the_run(live: Live) -> None:
    run_id = live.http.post("/v1/admin/runs", headers=live.callers.admin).json()["id"]
    seen: list[str] = []
    database = live.services.database

    def advance() -> None:
        with database.transaction() as session:
            claim_run(session, run_id, "worker", lease_s=60)
            set_status(session, run_id, 1, RunStatus.TRAINING)
        training.wait(10)
        with database.transaction() as session:
            finish_run(session, run_id, 1, RunStatus.REFUSED, "No better.")

    training = threading.Event()
    worker = threading.Thread(target=advance)
    worker.start()
    url = f"/v1/admin/runs/{run_id}/events"
    with serve(live.app) as address, httpx.stream("GET", address + url, headers=live.callers.admin) as response:
        for line in response.iter_lines():
            if line.startswith("data: "):
                run = json.loads(line.removeprefix("data: "))
                seen.append(run["status"])
                if run["status"] == "training":
                    training.set()
    worker.join()
    assert seen[-1] == "refused"
    assert "training" in seen


def test_an_unknown_run_is_not_found(live: Live) -> None:
    assert live.http.get("/v1/admin/runs/run-nothing/events", headers=live.callers.admin).status_code == 404
