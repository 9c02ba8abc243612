"""The loop as processes: API, worker, beat, Valkey and trainer on a tiny random GPT-2, driven over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from data.trunk_index import TrunkIndex
from data.vocabulary import RunStatus
from tests.processes import await_value
from tests.stacks import LEARNS, Running, run_stack

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Running for all tests here."""
    with run_stack(tmp_path_factory.mktemp("loop")) as running:
        yield running


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
        assert (run["status"], run["version_number"]) == (RunStatus.REFUSED, None)
        assert "dev split" in run["reason"]  # the same rows and seed give the same weights: nothing is gained there
        assert sorted(stack.list_version_numbers()) == [0, 1]
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
        assert len(made) == (run["version_number"] is not None)
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
