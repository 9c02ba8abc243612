"""Migrations at once, killed in the middle, and over rows of every earlier revision: all end well, no row is lost."""

from __future__ import annotations

import multiprocessing
import random
import threading
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import Boolean, Double, Integer, MetaData, NullPool, Table, create_engine, func, select

import migrations
from db.session import build_url
from migrations.upgrade import downgrade_database, find_revision, head_revision, upgrade_database
from tests.faults.conftest import Tell
from tests.faults.dose import SEED, choose_dose

PROCESSES = choose_dose(4, 8)
KILLED = choose_dose(1, 3)


def upgrade_at_once(url: str, barrier: Barrier) -> None:
    """What each of several processes does."""
    barrier.wait()
    upgrade_database(url)


def list_revisions() -> list[str]:
    """From the first to the newest."""
    script = ScriptDirectory(str(Path(migrations.__file__).parent))
    return [revision.revision for revision in reversed(list(script.walk_revisions()))]


def fill_tables(url: str, filled: set[str]) -> None:
    """One row in each table that has none yet; every text in it is the same, so that references hold."""
    engine = create_engine(build_url(url), poolclass=NullPool)
    metadata = MetaData()
    metadata.reflect(engine)
    with engine.begin() as connection:
        for table in metadata.sorted_tables:
            if table.name not in filled | {"alembic_version"}:
                connection.execute(table.insert().values(_build_row(table)))
                filled.add(table.name)


def count_rows(url: str) -> dict[str, int]:
    """Of each table."""
    engine = create_engine(build_url(url), poolclass=NullPool)
    metadata = MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        counts = {
            table.name: connection.scalar(select(func.count()).select_from(table)) or 0
            for table in metadata.sorted_tables
        }
    del counts["alembic_version"]
    return counts


def _build_row(table: Table) -> dict[str, Any]:
    def choose(column: Any) -> Any:
        if isinstance(column.type, Boolean):
            return False
        if isinstance(column.type, Integer | Double) or column.type.python_type in (int, float):
            return 1
        return {} if column.type.python_type is dict else "x"

    return {column.name: choose(column) for column in table.columns}


@pytest.mark.slow
def test_some_of_many_at_once_are_killed(empty_url: str, tell: Tell) -> None:
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(PROCESSES + 1)
    processes = [spawn.Process(target=upgrade_at_once, args=(empty_url, barrier)) for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    barrier.wait()
    draw = random.Random(SEED)
    for process in processes[:KILLED]:
        threading.Event().wait(draw.uniform(0, 0.3))
        process.kill()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes[KILLED:]] == [0] * (PROCESSES - KILLED)
    assert find_revision(empty_url) == head_revision()
    upgrade_database(empty_url)
    tell(f"{PROCESSES} migrations at once, {KILLED} killed in the middle: the others exit 0, newest schema")


@pytest.mark.filterwarnings("ignore:.*expression-based index")  # it is no column that a row would have
def test_rows_of_every_revision_survive(empty_url: str, tell: Tell) -> None:
    filled: set[str] = set()
    revisions = list_revisions()
    first: set[str] = set()
    for revision in revisions:
        upgrade_database(empty_url, revision)
        fill_tables(empty_url, filled)
        first = first or set(filled)
    assert count_rows(empty_url) == dict.fromkeys(filled, 1)
    for revision in reversed(revisions[:-1]):
        downgrade_database(empty_url, revision)
    kept = count_rows(empty_url)
    assert kept == dict.fromkeys(first, 1)
    upgrade_database(empty_url)
    assert {name: count for name, count in count_rows(empty_url).items() if count} == kept
    tell(f"rows in {len(filled)} tables over {len(revisions)} revisions up, down to the first and up again: 0 lost")
