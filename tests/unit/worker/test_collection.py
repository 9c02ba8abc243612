"""Collecting in a process of its own: its answer, its errors, its end."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import psutil
import pytest

from data.ingestion import read_examples
from data.recipe import Recipe
from data.snapshot import load_snapshot
from db.errors import LeaseLost
from db.examples import add_examples
from db.runs import claim_run, create_run
from db.session import Database
from db.snapshots import find_snapshot
from tests.engines import GENEROUS_S
from tests.processes import await_value, list_children
from tests.tiny import SAMPLES
from worker.collection import Attempt, collect
from worker.errors import CollectorKilled, WorkerStopping

EXAMPLES = 80  # the crisis classifier reads each, and each test has a new database


@pytest.fixture
def attempt(database: Database, tmp_path: Path) -> Attempt:
    with database.transaction() as session:
        examples = read_examples(SAMPLES / "support.csv", "support.csv").examples[:EXAMPLES]
        add_examples(session, examples, "support.csv", "0" * 64)
        run_id = create_run(session, {"method": "sft"}, "admin").id
        claim_run(session, run_id, "worker", lease_s=60)
    return Attempt(run_id, 1, Recipe(method="sft"), tmp_path / "runs" / run_id / "attempt-1")


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    return tmp_path / "crisis-memory.npz"


def list_collectors(worker_id: int | None = None) -> list[psutil.Process]:
    return list_children("--multiprocessing-fork", of=worker_id)


def go_on() -> None:
    """The run may go on."""


def test_the_snapshot_is_in_the_folder_and_in_the_database(
    database: Database, database_url: str, attempt: Attempt, memory: Path
) -> None:
    assert collect(database_url, attempt, memory, go_on) == ()
    rows = load_snapshot(attempt.folder / "snapshot")
    assert rows
    with database.reading() as session:
        snapshot = find_snapshot(session, attempt.run_id)
        assert snapshot is not None
        assert snapshot.digest == json.loads((attempt.folder / "snapshot" / "manifest.json").read_text())["digest"]
    assert list_collectors() == []


def test_says_what_is_missing(database_url: str, attempt: Attempt, memory: Path) -> None:
    wants_pairs = Attempt(attempt.run_id, 1, Recipe(method="kto"), attempt.folder)
    assert "".join(collect(database_url, wants_pairs, memory, go_on)).endswith(".")


def test_an_attempt_that_lost_its_run_writes_nothing(
    database: Database, database_url: str, attempt: Attempt, memory: Path
) -> None:
    former = Attempt(attempt.run_id, 0, attempt.recipe, attempt.folder)
    with pytest.raises(LeaseLost):
        collect(database_url, former, memory, go_on)
    with database.reading() as session:
        assert find_snapshot(session, attempt.run_id) is None


def test_ends_when_the_run_has_to_stop(database_url: str, attempt: Attempt, memory: Path) -> None:
    def stop() -> None:
        raise WorkerStopping

    with pytest.raises(WorkerStopping):
        collect(database_url, attempt, memory, stop)
    assert list_collectors() == []


def test_one_that_is_killed_is_worth_another_attempt(database_url: str, attempt: Attempt, memory: Path) -> None:
    def kill() -> None:
        for process in list_collectors():
            process.kill()

    with pytest.raises(CollectorKilled, match="was killed"):
        collect(database_url, attempt, memory, kill)
    assert collect(database_url, attempt, memory, go_on) == ()


def test_a_disk_that_fails_is_told(database_url: str, attempt: Attempt, memory: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    nowhere = Attempt(attempt.run_id, 1, attempt.recipe, tmp_path / "file" / "attempt-1")
    with pytest.raises(NotADirectoryError):
        collect(database_url, nowhere, memory, go_on)


def test_ends_with_the_worker(sqlite_template: Path, tmp_path: Path) -> None:
    path = shutil.copy(sqlite_template, tmp_path / "ratchet.db")
    begin = (
        "import sys; from pathlib import Path; from data.recipe import Recipe; from worker.collection import *; "
        "folder = Path(sys.argv[2]); "
        "collect(sys.argv[1], Attempt('run-1', 1, Recipe(), folder), folder / 'memory.npz', lambda: None)"
    )
    with closing(sqlite3.connect(path)) as writer:
        writer.execute("BEGIN IMMEDIATE")  # the collector has to wait for it
        worker = subprocess.Popen([sys.executable, "-c", begin, f"sqlite:///{path}", str(tmp_path / "attempt-1")])
        collectors = await_value(lambda: list_collectors(worker.pid), bool)
        worker.kill()
        worker.wait()
        assert psutil.wait_procs(collectors, timeout=GENEROUS_S)[1] == []
