"""Connections and transactions, alike on SQLite and PostgreSQL."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError
from sqlalchemy.orm import Session, sessionmaker

from db.errors import DatabaseUrlInvalid

BUSY_TIMEOUT_S = 20  # how long a SQLite transaction waits for another to end

_DRIVERS = frozenset({"sqlite", "sqlite+pysqlite", "postgresql+psycopg"})
# Of PostgreSQL, for a server or a network that falls silent: without them a request would wait for ever, and soon all.
_CONNECT_S = 5
_SILENT_OPTIONS: dict[str, int] = {
    "connect_timeout": _CONNECT_S,
    "tcp_user_timeout": 10_000,  # in ms: what was sent is not acknowledged for so long
    "keepalives_idle": 10,  # the same while we only wait: asked after so many seconds of silence,
    "keepalives_interval": 5,  # again after so many,
    "keepalives_count": 3,  # and given up after so many that were not answered
}
_READ_OPTIONS: dict[str, dict[str, Any]] = {
    "sqlite": {"sqlite_read_only": True},
    "postgresql": {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"},
}


def build_url(url: str) -> URL:
    """The SQLAlchemy URL, with psycopg 3 as the driver of PostgreSQL.

    Raises:
        DatabaseUrlInvalid: it is none, or one of another database or driver.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:  # the latter where the port is no number
        raise DatabaseUrlInvalid from error
    if parsed.drivername in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in _DRIVERS:
        raise DatabaseUrlInvalid
    return parsed


def build_connect_args(url: URL, statement_timeout_s: float | None = None) -> dict[str, Any]:
    """What the driver is to be told of patience; of what the URL says itself, that holds.

    `statement_timeout_s`: the longest time for one statement, waiting for locks included; None: no limit.
    """
    if url.get_backend_name() != "postgresql":
        return {}
    given = {name: value for name, value in _SILENT_OPTIONS.items() if name not in url.query}
    if statement_timeout_s is None:
        return given
    limit = f"-c statement_timeout={int(statement_timeout_s * 1000)}"
    return {**given, "options": f"{limit} {url.query.get('options', '')}".strip()}


class Database:
    """One database; safe to share between threads, to be opened anew after a fork."""

    def __init__(self, url: str, statement_timeout_s: float | None = None) -> None:
        """Open lazily: no connection is made before the first transaction.

        `statement_timeout_s`: see `build_connect_args`; who answers requests sets it, workers may take long.
        """
        parsed = build_url(url)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        self._engine = create_engine(
            parsed,
            pool_size=20,
            max_overflow=0,  # connections above the pool's size are opened and closed for each use, which takes 10 ms
            pool_pre_ping=not is_sqlite,
            connect_args=build_connect_args(parsed, statement_timeout_s),
            hide_parameters=True,  # errors are logged, and parameters hold what people wrote
        )
        # SQLite lets writers wait by polling, up to 0.1 s at a time; those of one process take turns without.
        self._turn = threading.Lock() if is_sqlite else nullcontext()
        if is_sqlite:
            control_sqlite_transactions(self._engine)
        read_engine = self._engine.execution_options(**_READ_OPTIONS[parsed.get_backend_name()])
        # Rows stay readable after the commit: a worker trains with its run row for hours.
        self._write_sessions = sessionmaker(self._engine, expire_on_commit=False)
        self._read_sessions = sessionmaker(read_engine, expire_on_commit=False)

    @property
    def url(self) -> str:
        """What it was opened with, the password too; for another process that opens it."""
        return self._engine.url.render_as_string(hide_password=False)

    @contextmanager
    def transaction(self, *, is_long: bool = False) -> Iterator[Session]:
        """A transaction that commits at the end, or rolls back on an error; on SQLite the only writer.

        `is_long`: none of its statements is cut off, however long it takes.
        """
        with self._turn, self._write_sessions.begin() as session:
            if is_long and self._engine.dialect.name == "postgresql":
                session.execute(text("SET LOCAL statement_timeout = 0"))
            yield session

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A short transaction that sees one state of the database throughout and refuses to write."""
        with self._read_sessions() as session:
            yield session

    def compact(self) -> bool:
        """Rewrite a SQLite file so that nothing of deleted rows is left in it, nor in its log.

        PostgreSQL sees to that itself. False: a reader or writer was in the way, or the disk is full; try again.
        """
        if self._engine.dialect.name != "sqlite":
            return True
        with closing(self._engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
            try:
                cursor.execute("PRAGMA query_only = 0")  # who had the connection last may only have read
                cursor.execute("VACUUM")
                cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                outcome = cursor.fetchone()  # the first column: whether someone was in the way
            except sqlite3.OperationalError:
                return False
            return outcome is not None and outcome[0] == 0

    def dispose(self) -> None:
        """Close the idle connections."""
        self._engine.dispose()


def control_sqlite_transactions(engine: Engine) -> None:
    """Make a SQLite engine wait for its turn and begin transactions itself.

    Takes BEGIN over from sqlite3; see "Enabling Non-Legacy SQLite Transactional Modes" in SQLAlchemy.
    """

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: object) -> None:
        connection.isolation_level = None
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_S * 1000}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # deleted bytes become zeros

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        read_only = connection.get_execution_options().get("sqlite_read_only", False)
        connection.exec_driver_sql(f"PRAGMA query_only = {int(read_only)}")
        # A deferred transaction that turns into a writer fails at once, whatever the busy timeout.
        connection.exec_driver_sql("BEGIN DEFERRED" if read_only else "BEGIN IMMEDIATE")
