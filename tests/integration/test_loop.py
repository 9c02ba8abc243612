"""The loop as processes: API, worker, beat, Valkey and trainer on a tiny random GPT-2, driven over HTTP."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from data.trunk_index import TrunkIndex
from data.vocabulary import KeyRole, RunStatus
from db.keys import create_key
from db.session import Database
from tests.processes import await_value, build_environment, find_free_port, is_ready
from tests.tiny import SAMPLES, build_tiny_gpt2

LEARNS = {
    "trainable": "full",
    "sft_epochs": 3,
    "sft_learning_rate": 3e-3,
    "preference_epochs": 0,
    "reply_tokens": 16,
    "safety_items": 8,
}
pytestmark = pytest.mark.slow


@dataclass
class Running:
    """A running stack with the HTTP clients of an admin and of a chat product."""

    process: subprocess.Popen[bytes]
    folder: Path
    admin: httpx.Client
    client: httpx.Client

    def queue_run(self, **recipe: Any) -> str:
        """Queue a run and return its id."""
        answer = self.admin.post("/v1/admin/runs", json={"recipe": recipe})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return str(answer.json()["id"])

    def get_run(self, run_id: str) -> dict[str, Any]:
        """The run as the API shows it."""
        return dict(self.admin.get(f"/v1/admin/runs/{run_id}").raise_for_status().json())

    def await_end(self, run_id: str) -> dict[str, Any]:
        """The run once it has its outcome."""
        run: dict[str, Any] = await_value(
            lambda: self.get_run(run_id), lambda run: not RunStatus(run["status"]).is_active
        )
        return run

    def list_version_numbers(self) -> list[int]:
        """All versions, newest first."""
        return [row["number"] for row in self.admin.get("/v1/admin/versions").raise_for_status().json()["data"]]

    def await_served(self, version: int) -> None:
        """Wait until the API answers with that version."""
        await_value(lambda: self.client.get("/readyz").json().get("version"), lambda served: served == version)

    def chat(self, text: str) -> dict[str, Any]:
        """One greedy reply."""
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 12, "temperature": 0}
        return dict(self.client.post("/v1/chat/completions", json=body).raise_for_status().json())

    def await_process(self, *words: str) -> psutil.Process:
        """A process of the stack whose command line holds all `words`."""
        process: psutil.Process = await_value(lambda: self._find_process(words), lambda found: found is not None)
        return process

    def _find_process(self, words: tuple[str, ...]) -> psutil.Process | None:
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if all(word in child.cmdline() for word in words):
                    return child
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                continue
        return None


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """`ratchet up` on a folder of its own, with the samples imported; stopped with SIGTERM at the end."""
    folder = tmp_path_factory.mktemp("var")
    base = build_tiny_gpt2(tmp_path_factory.mktemp("tiny"))
    address = f"http://127.0.0.1:{(port := find_free_port())}"
    environment = build_environment(var=folder, port=port, base_model=base, tick_s=1, lease_s=4)
    process = subprocess.Popen([sys.executable, "-m", "cli", "up"], env=environment, stdin=subprocess.DEVNULL)
    try:
        await_value(lambda: is_ready(address), bool)
        database = Database(f"sqlite:///{folder / 'ratchet.db'}")
        with database.transaction() as session:
            secrets = [create_key(session, role, "test")[1] for role in (KeyRole.ADMIN, KeyRole.CLIENT)]
        database.dispose()
        clients = [
            httpx.Client(base_url=address, headers={"Authorization": f"Bearer {secret}"}, timeout=60)
            for secret in secrets
        ]
        with clients[0] as admin, clients[1] as client:
            with (SAMPLES / "support.csv").open("rb") as file:
                admin.post("/v1/admin/examples", files={"file": ("support.csv", file)}).raise_for_status()
            yield Running(process, folder, admin, client)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0


class TestLoop:
    """In this order: each test leaves the stack one step further."""

    def test_skips_a_run_without_ratings_and_says_what_is_missing(self, stack: Running) -> None:
        run = stack.await_end(stack.queue_run())
        assert run["status"] == RunStatus.SKIPPED
        assert "0 ratings up and 0 down" in run["reason"]
        assert stack.list_version_numbers() == [0]

    def test_promotes_what_is_better_and_serves_it_without_a_restart(self, stack: Running) -> None:
        before = stack.chat("I feel tired.")
        assert before["model"] == "ratchet-v0"
        run = stack.await_end(stack.queue_run(**LEARNS))
        assert (run["status"], run["version_number"]) == (RunStatus.SUCCEEDED, 1), run["reason"]
        stack.await_served(1)
        after = stack.chat("I feel tired.")
        assert after["model"] == "ratchet-v1"
        assert after["choices"][0]["message"]["content"] != before["choices"][0]["message"]["content"]
        page = (stack.folder / "runs" / run["id"] / "attempt-1" / "report.html").read_text()
        assert "Promoted" in page

    def test_does_not_promote_what_equals_production(self, stack: Running) -> None:
        run = stack.await_end(stack.queue_run(**LEARNS))
        assert run["status"] == RunStatus.REFUSED
        versions = {row["number"]: row["digest"] for row in stack.admin.get("/v1/admin/versions").json()["data"]}
        assert versions[2] == versions[1]  # the same rows and seed give the same weights
        assert stack.client.get("/readyz").json()["version"] == 1

    def test_a_killed_trainer_and_a_killed_worker_still_end_in_one_version(self, stack: Running) -> None:
        run_id = stack.queue_run(**(LEARNS | {"seed": 7}))
        stack.await_process("trainer").kill()
        await_value(lambda: stack.get_run(run_id)["attempt"], lambda attempt: attempt >= 2)
        stack.await_process("trainer")
        stack.await_process("cli", "worker").kill()
        rated = stack.chat("My week was long.")
        feedback = {"completion_id": rated["id"], "rating": "up", "user": "someone"}
        assert stack.client.post("/v1/feedback", json=feedback).status_code == httpx.codes.CREATED
        run = stack.await_end(run_id)
        assert run["status"] in (RunStatus.SUCCEEDED, RunStatus.REFUSED, RunStatus.FAILED)
        made = [row for row in stack.admin.get("/v1/admin/versions").json()["data"] if row["run_id"] == run_id]
        assert len(made) == (0 if run["status"] == RunStatus.FAILED else 1)
        assert stack.client.get(f"/v1/feedback/{rated['id']}", params={"user": "someone"}).json()["rating"] == "up"

    def test_cancels_a_run_under_way(self, stack: Running) -> None:
        run_id = stack.queue_run(**LEARNS)
        trainer = stack.await_process("trainer")
        stack.admin.post(f"/v1/admin/runs/{run_id}/cancel").raise_for_status()
        assert stack.await_end(run_id)["status"] == RunStatus.CANCELLED
        await_value(trainer.is_running, lambda running: not running)

    def test_rolls_back(self, stack: Running) -> None:
        production = stack.client.get("/readyz").json()["version"]
        answer = stack.admin.post("/v1/admin/rollback", json={"reason": "a test"})
        assert answer.status_code in (httpx.codes.OK, httpx.codes.CREATED), answer.text
        stack.await_served(answer.json()["version_number"])
        assert stack.client.get("/readyz").json()["version"] != production

    def test_holds_back_what_passes_in_approve_mode_until_an_admin_promotes_it(self, stack: Running) -> None:
        stack.admin.post("/v1/admin/versions/0/promote", json={"reason": "a test"})
        stack.await_served(0)
        schedule = {"interval_s": 0, "min_ratings": 1, "mode": "approve"}
        stack.admin.put("/v1/admin/schedule", json=schedule).raise_for_status()
        run = stack.await_end(stack.queue_run(**LEARNS))
        number = run["version_number"]
        assert (run["status"], run["reason"]) == (RunStatus.SUCCEEDED, "Passed the gate; waits for approval.")
        assert stack.client.get("/readyz").json()["version"] == 0
        assert stack.admin.get(f"/v1/admin/versions/{number}").json()["awaits_approval"]
        approval = stack.admin.post(f"/v1/admin/versions/{number}/promote", json={"reason": "Approved."})
        assert approval.raise_for_status().json()["kind"] == "manual"
        stack.await_served(number)

    def test_keeps_what_frozen_blocks_say_for_later_runs(self, stack: Running) -> None:
        run = stack.await_end(stack.queue_run(**LEARNS | {"trainable": "last:1", "sft_epochs": 1}))
        report = json.loads((stack.folder / "runs" / run["id"] / "attempt-1" / "report.json").read_text())
        assert report["trunk_cache"]["rows"] > 100
        index = TrunkIndex(stack.folder / "trunk-cache")
        assert index.measure() == (report["trunk_cache"]["rows"], report["trunk_cache"]["bytes"])
        index.close()
