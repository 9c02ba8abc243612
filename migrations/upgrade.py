"""Brings a database to a revision of the schema in one transaction, safely if several processes try."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg.errors import LockNotAvailable
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, text
from sqlalchemy.exc import OperationalError

from db.errors import DatabaseTooNew, MigrationBusy
from db.session import build_connect_args, build_url, control_sqlite_transactions

_LOCK_POLL_S = 0.1
ADVISORY_LOCK = 7_266_782_438  # any number, so long as no other program locks it in this database


def upgrade_database(url: str, revision: str = "head", wait_s: float = 120) -> None:
    """Upgrade to `revision`; nothing happens when the database is there already.

    Other processes that are migrating it are waited for, up to `wait_s` seconds.

    Raises:
        DatabaseTooNew: the database is at a revision that this program does not have.
        MigrationBusy: another process has been migrating for all that time.
    """
    _migrate(url, command.upgrade, revision, wait_s)


def downgrade_database(url: str, revision: str, wait_s: float = 120) -> None:
    """Downgrade to `revision`, or to an empty schema for "base". What only the newer schema can hold is lost.

    Raises:
        DatabaseTooNew, MigrationBusy: see `upgrade_database`.
    """
    _migrate(url, command.downgrade, revision, wait_s)


def find_revision(url: str) -> str | None:
    """The revision that the database is at, or None when it was never migrated."""
    database = build_url(url).database
    if build_url(url).get_backend_name() == "sqlite" and not Path(str(database)).exists():
        return None  # to connect would make the file
    engine = _build_engine(url)
    with engine.connect().execution_options(sqlite_read_only=True) as connection:  # no turn among writers is waited for
        return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str:
    """The newest revision that this program has."""
    head = ScriptDirectory.from_config(_build_config()).get_current_head()
    assert head is not None
    return head


def _migrate(url: str, step: Callable[[Config, str], None], revision: str, wait_s: float) -> None:
    engine = _build_engine(url)
    with _lock(engine, wait_s), engine.begin() as connection:
        config = _build_config()
        config.attributes["connection"] = connection
        _check_revision_is_known(config, connection)
        step(config, revision)
        if engine.dialect.name == "sqlite":
            _check_foreign_keys(connection)


def _build_config() -> Config:
    config = Config()
    folder = str(Path(__file__).parent).replace("%", "%%")  # the value is a template
    config.set_main_option("script_location", folder)
    config.set_main_option("path_separator", "os")
    return config


def _build_engine(url: str) -> Engine:
    """An engine that keeps no connections, so that closing one gives up all that it holds."""
    parsed = build_url(url)
    engine = create_engine(parsed, poolclass=NullPool, connect_args=build_connect_args(parsed))
    if parsed.get_backend_name() == "sqlite":
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        control_sqlite_transactions(engine)

        @event.listens_for(engine, "connect")
        def _allow_table_rebuilds(connection: Any, _record: object) -> None:
            # A batch migration drops the old table, which would take the rows that point to it along.
            connection.execute("PRAGMA foreign_keys = OFF")

    return engine


def _check_revision_is_known(config: Config, connection: Connection) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    unknown = set(MigrationContext.configure(connection).get_current_heads()) - known
    if unknown:
        raise DatabaseTooNew


def _check_foreign_keys(connection: Connection) -> None:
    violations = connection.execute(text("PRAGMA foreign_key_check")).all()
    if violations:
        raise RuntimeError(f"The migration broke {len(violations)} references, the first {violations[0]}.")


def _lock(engine: Engine, wait_s: float) -> AbstractContextManager[None]:
    """One migration at a time, over all processes."""
    lock = _lock_sqlite if engine.dialect.name == "sqlite" else _lock_postgresql
    return lock(engine, wait_s)


@contextmanager
def _lock_sqlite(engine: Engine, wait_s: float) -> Iterator[None]:
    deadline_s = time.monotonic() + wait_s
    with Path(f"{engine.url.database}.migration-lock").open("w") as file:  # given up when the file is closed
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline_s:
                    raise MigrationBusy from None
                time.sleep(_LOCK_POLL_S)
        yield


@contextmanager
def _lock_postgresql(engine: Engine, wait_s: float) -> Iterator[None]:
    # A lock of the session on a connection of its own, so a revision that must commit midway keeps it.
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"SET lock_timeout = {round(wait_s * 1000)}"))
        try:
            connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": ADVISORY_LOCK})
        except OperationalError as error:
            if isinstance(error.orig, LockNotAvailable):
                raise MigrationBusy from None
            raise
        yield
