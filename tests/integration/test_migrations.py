"""The migrations lead to the models, forth and back, and do so when several processes run them at once."""

from __future__ import annotations

import fcntl
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, NullPool, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError

import db.models  # noqa: F401 (it fills the metadata)
from db.base import Base
from db.errors import DatabaseTooNew, MigrationBusy
from db.runs import create_run, list_runs
from db.session import Database, build_url
from migrations.upgrade import (
    ADVISORY_LOCK,
    downgrade_database,
    find_revision,
    head_revision,
    upgrade_database,
)


@contextmanager
def connect(url: str) -> Iterator[Connection]:
    """A transaction without any of our own settings."""
    with create_engine(build_url(url), poolclass=NullPool).begin() as connection:
        yield connection


def list_tables(url: str) -> set[str]:
    """Every table but Alembic's own."""
    with connect(url) as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


@contextmanager
def hold_lock(url: str) -> Iterator[None]:
    """Hold the lock of the migrations as a process would that is in the midst of one."""
    if url.startswith("sqlite"):
        with Path(f"{build_url(url).database}.migration-lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    else:
        with connect(url) as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
            yield


def upgrade_at_once(url: str, barrier: Barrier) -> None:
    """What each of several processes does."""
    barrier.wait()
    upgrade_database(url)


class TestUpgradeDatabase:
    @pytest.mark.filterwarnings("ignore:.*expression-based index:")  # the next test sees to that one
    def test_makes_what_the_models_say(self, empty_url: str) -> None:
        upgrade_database(empty_url)
        with connect(empty_url) as connection:
            context = MigrationContext.configure(connection, opts={"compare_type": True})
            assert compare_metadata(context, Base.metadata) == []

    def test_makes_the_indexes_that_the_comparison_does_not_see(self, empty_url: str) -> None:
        upgrade_database(empty_url)
        catalogue = "sqlite_master" if empty_url.startswith("sqlite") else "pg_indexes"
        columns = "name, sql" if empty_url.startswith("sqlite") else "indexname, indexdef"
        with connect(empty_url) as connection:
            indexes: dict[str, str] = dict(connection.execute(text(f"SELECT {columns} FROM {catalogue}")).all())
        assert "UNIQUE INDEX" in indexes["uq_runs_one_active"]
        assert "WHERE" in indexes["uq_runs_one_active"]

    def test_names_every_constraint_as_the_convention_does(self, empty_url: str) -> None:
        upgrade_database(empty_url)
        with connect(empty_url) as connection:
            inspector = inspect(connection)
            for table in Base.metadata.tables.values():
                keys = inspector.get_foreign_keys(table.name)
                assert {key["name"] for key in keys} == {key.name for key in table.foreign_key_constraints}

    def test_does_nothing_the_second_time(self, empty_url: str) -> None:
        upgrade_database(empty_url)
        database = Database(empty_url)
        with database.transaction() as session:
            create_run(session, {}, "admin")
        upgrade_database(empty_url)
        with database.reading() as session:
            assert len(list_runs(session)) == 1
        database.dispose()

    def test_makes_the_folder_of_a_sqlite_file(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path / 'var' / 'ratchet.db'}"
        upgrade_database(url)
        assert find_revision(url) == head_revision()

    def test_four_processes_at_once_make_one_schema(self, empty_url: str) -> None:
        spawn = multiprocessing.get_context("spawn")
        barrier = spawn.Barrier(4)
        processes = [spawn.Process(target=upgrade_at_once, args=(empty_url, barrier)) for _ in range(4)]
        for process in processes:
            process.start()
        for process in processes:
            process.join()
        assert [process.exitcode for process in processes] == [0, 0, 0, 0]
        assert find_revision(empty_url) == head_revision()
        assert list_tables(empty_url) == set(Base.metadata.tables)

    def test_refuses_a_database_of_a_newer_program(self, empty_url: str) -> None:
        upgrade_database(empty_url)
        with connect(empty_url) as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = 'of-the-future'"))
        with pytest.raises(DatabaseTooNew):
            upgrade_database(empty_url)

    def test_gives_up_on_another_that_does_not_finish(self, empty_url: str) -> None:
        with hold_lock(empty_url), pytest.raises(MigrationBusy):
            upgrade_database(empty_url, wait_s=0.2)
        upgrade_database(empty_url, wait_s=0.2)

    def test_leaves_no_half_of_a_migration_behind(self, empty_url: str) -> None:
        with connect(empty_url) as connection:
            connection.execute(text("CREATE TABLE swaps (id INTEGER)"))  # the last table of the first revision
        with pytest.raises(DBAPIError, match="already exists"):
            upgrade_database(empty_url)
        assert list_tables(empty_url) == {"swaps"}
        assert find_revision(empty_url) is None


class TestDowngradeDatabase:
    def test_takes_everything_away_and_upgrading_brings_it_back(self, empty_url: str) -> None:
        upgrade_database(empty_url)
        downgrade_database(empty_url, "base")
        assert list_tables(empty_url) == set()
        assert find_revision(empty_url) is None
        upgrade_database(empty_url)
        assert list_tables(empty_url) == set(Base.metadata.tables)


class TestFindRevision:
    def test_is_none_before_the_first_migration_and_makes_no_file(self, tmp_path: Path) -> None:
        assert find_revision(f"sqlite:///{tmp_path / 'ratchet.db'}") is None
        assert list(tmp_path.iterdir()) == []
