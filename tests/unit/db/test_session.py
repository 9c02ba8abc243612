"""Transactions: what they keep, what they undo, and how they meet."""

from __future__ import annotations

import shutil
import socket
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError
from sqlalchemy.orm import Session

from data.vocabulary import KeyRole
from db.errors import DatabaseUrlInvalid
from db.keys import count_keys, create_key
from db.models import ApiKey, Conversation
from db.session import Database, build_connect_args, build_url
from tests.rows import run_at_once


class TestBuildUrl:
    @pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
    def test_chooses_psycopg_3(self, scheme: str) -> None:
        url = build_url(f"{scheme}://ann:secret@host/ratchet")
        assert url.drivername == "postgresql+psycopg"
        assert (url.username, url.password, url.database) == ("ann", "secret", "ratchet")

    def test_leaves_sqlite_alone(self) -> None:
        assert build_url("sqlite:///var/ratchet.db").render_as_string() == "sqlite:///var/ratchet.db"

    @pytest.mark.parametrize(
        "url",
        ["foo", "", "mysql://x/y", "nothing://x", "postgresql+psycopg2://x/y", "postgresql://ann:secret@host:x/y"],
    )
    def test_refuses_what_is_neither_and_keeps_the_password(self, url: str) -> None:
        with pytest.raises(DatabaseUrlInvalid) as caught:
            build_url(url)
        assert "secret" not in caught.value.message


class TestPatience:
    def test_gives_up_a_server_that_accepts_and_never_answers(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as silent:
            database = Database(f"postgresql://ann@127.0.0.1:{silent.getsockname()[1]}/ratchet")
            with pytest.raises(OperationalError, match="timeout"), database.reading() as session:
                session.connection()
            database.dispose()

    def test_what_the_url_says_holds(self) -> None:
        url = build_url("postgresql://host/ratchet?connect_timeout=60&options=-c%20lock_timeout%3D5")
        arguments = build_connect_args(url, 2.5)
        assert arguments["options"] == "-c statement_timeout=2500 -c lock_timeout=5"
        assert "connect_timeout" not in arguments
        assert "options" not in build_connect_args(url)
        assert build_connect_args(build_url("sqlite:///x.db"), 2.5) == {}

    def test_cuts_a_statement_off_where_it_is_to_and_no_long_transaction(self, postgres_url: str) -> None:
        hasty, patient = Database(postgres_url, statement_timeout_s=0.2), Database(postgres_url)
        sleep = text("SELECT pg_sleep(0.6)")
        for begin in (hasty.reading, hasty.transaction):
            with pytest.raises(OperationalError, match="statement timeout"), begin() as session:
                session.execute(sleep)
        for database in (hasty, patient):
            with database.transaction(is_long=True) as session:
                session.execute(sleep)
        with patient.transaction() as session:
            session.execute(sleep)
        with pytest.raises(OperationalError, match="statement timeout"), hasty.transaction() as session:
            session.execute(sleep)  # the limit is back
        for database in (hasty, patient):
            database.dispose()


class TestCompact:
    def test_leaves_no_byte_of_what_was_deleted(self, tmp_path: Path, sqlite_template: Path) -> None:
        path = Path(shutil.copy(sqlite_template, tmp_path / "ratchet.db"))
        database = Database(f"sqlite:///{path}")
        with database.transaction() as session:
            key, _ = create_key(session, KeyRole.CLIENT, "a canary")
            session.flush()
            session.delete(key)
            create_key(session, KeyRole.CLIENT, "a parrot")
        assert database.compact()
        files = b"".join(file.read_bytes() for file in tmp_path.iterdir())
        assert (b"a canary" in files, b"a parrot" in files) == (False, True)
        database.dispose()

    def test_leaves_the_rows(self, database: Database) -> None:
        with database.transaction() as session:
            create_key(session, KeyRole.CLIENT, "kept")
        with database.reading() as session:
            count_keys(session)  # its connection, which may not write, is the next one to be used
        assert database.compact()
        with database.transaction() as session:
            assert count_keys(session) == 1


class TestTransaction:
    def test_commits_at_the_end(self, database: Database) -> None:
        with database.transaction() as session:
            create_key(session, KeyRole.CLIENT, "kept")
        with database.reading() as session:
            assert count_keys(session) == 1

    def test_undoes_everything_on_an_error(self, database: Database) -> None:
        with pytest.raises(RuntimeError), database.transaction() as session:
            create_key(session, KeyRole.CLIENT, "undone")
            raise RuntimeError
        with database.reading() as session:
            assert count_keys(session) == 0

    def test_leaves_rows_readable(self, database: Database) -> None:
        with database.transaction() as session:
            key, _ = create_key(session, KeyRole.CLIENT, "read later")
        assert key.name == "read later"
        assert key.created_at_s > 0

    def test_enforces_references(self, database: Database) -> None:
        with pytest.raises(IntegrityError), database.transaction() as session:
            session.add(Conversation(key_id="no such key", id="1"))

    def test_reads_before_it_writes_without_losing_an_update(self, database: Database) -> None:
        with database.transaction() as session:
            key, _ = create_key(session, KeyRole.CLIENT, "")

        def append(session: Session) -> None:
            row = session.scalars(select(ApiKey).where(ApiKey.id == key.id).with_for_update()).one()
            row.name += "x"

        run_at_once(database, 8, append)
        with database.reading() as session:
            assert session.get_one(ApiKey, key.id).name == "x" * 8


class TestReading:
    def test_sees_one_state_throughout(self, database: Database) -> None:
        with database.reading() as session:
            assert count_keys(session) == 0
            with database.transaction() as other:
                create_key(other, KeyRole.CLIENT, "new")
            assert count_keys(session) == 0
        with database.reading() as session:
            assert count_keys(session) == 1

    def test_does_not_wait_for_a_writer(self, database: Database) -> None:
        with database.transaction() as writer:
            create_key(writer, KeyRole.CLIENT, "not yet")
            with database.reading() as session:
                assert count_keys(session) == 0

    def test_refuses_to_write(self, database: Database) -> None:
        with pytest.raises(DBAPIError), database.reading() as session:
            create_key(session, KeyRole.CLIENT, "refused")
        with database.transaction() as session:  # on the same connection, which must not stay read-only
            create_key(session, KeyRole.CLIENT, "written")


class TestSqlite:
    def test_is_set_up_for_many_processes(self, tmp_path: Path) -> None:
        database = Database(f"sqlite:///{tmp_path / 'ratchet.db'}")
        expected = {"journal_mode": "wal", "busy_timeout": 20_000, "foreign_keys": 1, "synchronous": 1}
        with database.reading() as session:
            found = {name: session.scalar(text(f"PRAGMA {name}")) for name in expected}
        database.dispose()
        assert found == expected

    def test_a_transaction_is_the_only_writer_from_its_beginning(self, tmp_path: Path) -> None:
        path = tmp_path / "ratchet.db"
        database = Database(f"sqlite:///{path}")
        impatient = sqlite3.connect(path, timeout=0)
        with database.transaction() as session:
            session.execute(text("SELECT 1"))
            with pytest.raises(sqlite3.OperationalError, match="locked"):
                impatient.execute("BEGIN IMMEDIATE")
        impatient.execute("BEGIN IMMEDIATE")
        impatient.close()
        database.dispose()
