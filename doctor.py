"""What `ratchet doctor` looks at, each part by itself: how it is, and one sentence with the remedy."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alembic.util.exc import CommandError
from kombu.exceptions import OperationalError as BrokerError
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from db.base import database_now_s
from db.errors import DatabaseUrlInvalid
from db.models import Version
from db.retention import list_protected
from db.session import Database, build_url
from db.versions import BASE_NUMBER, list_versions
from migrations.upgrade import find_revision, head_revision
from serving.artifact import load_artifact
from serving.errors import ArtifactInvalid
from settings import Settings
from worker.queue import build_celery

State = Literal["ok", "warn", "fail"]
_CLOCK_WARN_S, _CLOCK_FAIL_S = 2.0, 15.0  # leases are compared by the database's clock, logs and windows by this one's
_SPARE_BYTES = 1_000_000_000  # beside room for two more artifacts: a snapshot, checkpoints, logs
_LEAST_BYTES = 200_000_000  # below this the database itself is in danger
_ANSWER_S = 3.0


@dataclass(frozen=True)
class Check:
    """How one part is; `remedy` is empty when it is well."""

    name: str
    state: State
    detail: str
    remedy: str = ""


def examine(settings: Settings, quick: bool = False) -> Iterator[Check]:
    """All checks, one after the other; a quick examination does not read the artifacts."""
    checks: list[tuple[str, Callable[[Settings], Check]]] = [
        ("var", _check_folder),
        ("disk", _check_disk),
        ("database", _check_database),
        ("migrations", _check_migrations),
        ("clock", _check_clock),
        ("broker", _check_broker),
    ]
    if not quick:
        checks += [("base model", _check_base), ("artifacts", _check_artifacts)]
    is_reachable = True
    for name, check in checks:
        if not is_reachable and name in {"migrations", "clock", "base model", "artifacts"}:
            yield Check(name, "warn", "Cannot be told without the database.", "Mend the database first.")
            continue
        found = check(settings)
        if name in {"database", "migrations"} and found.state == "fail":
            is_reachable = False
        yield found


def _check_folder(settings: Settings) -> Check:
    try:
        with tempfile.TemporaryFile(dir=settings.var) as file:
            file.write(b"1")
            file.flush()
    except OSError as error:
        remedy = f"Create {settings.var} and give it to the user that runs Ratchet, or set RATCHET_VAR."
        return Check("var", "fail", f"{settings.var} cannot be written ({error.strerror}).", remedy)
    return Check("var", "ok", f"{settings.var} can be written.")


def _check_disk(settings: Settings) -> Check:
    folder = settings.var if settings.var.exists() else Path()
    free = shutil.disk_usage(folder).free
    folders = [path for path in settings.artifacts.glob("*") if path.is_dir()]
    biggest = max((_measure(path) for path in folders), default=0)
    detail = f"{free / 1e9:.1f} GB are free; the largest artifact takes {biggest / 1e9:.1f} GB."
    remedy = "Free space, or let RATCHET_KEEP_ARTIFACTS and RATCHET_KEEP_RUN_FOLDERS remove what is old."
    if free < _LEAST_BYTES:
        return Check("disk", "fail", detail, remedy)
    return Check("disk", "warn", detail, remedy) if free < 2 * biggest + _SPARE_BYTES else Check("disk", "ok", detail)


def _check_database(settings: Settings) -> Check:
    try:
        url = build_url(settings.database)
    except DatabaseUrlInvalid:
        detail = "RATCHET_DATABASE_URL is no URL of PostgreSQL or SQLite."
        return Check("database", "fail", detail, "Write it as postgresql://user:password@host/name, or unset it.")
    name = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite" and not Path(str(url.database)).exists():
        return Check("database", "fail", f"{url.database} does not exist.", "Run `ratchet db upgrade`.")
    try:
        _read_clock(settings)
    except SQLAlchemyError as error:
        reason = str(getattr(error, "orig", error)).splitlines()[0]
        remedy = "Start the database, or correct RATCHET_DATABASE_URL."
        return Check("database", "fail", f"{name} does not answer ({reason}).", remedy)
    return Check("database", "ok", f"{name} answers.")


def _check_migrations(settings: Settings) -> Check:
    head = head_revision()
    try:
        revision = find_revision(settings.database)
    except (SQLAlchemyError, CommandError) as error:
        return Check(
            "migrations", "fail", f"The revision cannot be read ({type(error).__name__}).", "Mend the database."
        )
    if revision == head:
        return Check("migrations", "ok", f"The schema is at the newest revision, {head}.")
    detail = f"The schema is at revision {revision or 'none'}, this program at {head}."
    return Check("migrations", "fail", detail, "Run `ratchet db upgrade`, or a newer Ratchet if that refuses.")


def _check_clock(settings: Settings) -> Check:
    before_s = time.time()
    database_s = _read_clock(settings)
    after_s = time.time()
    ahead_s = min(0.0, database_s - before_s) or max(0.0, database_s - after_s)
    detail = f"This machine's clock and the database's differ by {abs(ahead_s):.1f} s."
    remedy = "Let both machines follow a time server (NTP)."
    if abs(ahead_s) >= _CLOCK_FAIL_S:
        return Check("clock", "fail", detail, remedy)
    return Check("clock", "warn", detail, remedy) if abs(ahead_s) >= _CLOCK_WARN_S else Check("clock", "ok", detail)


def _check_broker(settings: Settings) -> Check:
    if not settings.broker:
        remedy = "Start everything with `ratchet up`, or set RATCHET_BROKER_URL."
        return Check("broker", "warn", "None is running or configured; runs wait.", remedy)
    with build_celery(settings) as celery, celery.connection_for_write() as connection:
        try:
            connection.ensure_connection(max_retries=1, timeout=_ANSWER_S)
        except (BrokerError, OSError):
            remedy = "Start it (`ratchet up`, or your Redis or Valkey), or correct RATCHET_BROKER_URL."
            return Check("broker", "fail", f"{connection.as_uri()} does not answer.", remedy)
        return Check("broker", "ok", f"{connection.as_uri()} answers.")


def _check_base(settings: Settings) -> Check:
    with _reading(settings) as (versions, _):
        base = next((version for version in versions if version.number == BASE_NUMBER), None)
    if base is None:
        return Check("base model", "warn", "None is registered yet.", "Start `ratchet up` (or `ratchet worker`) once.")
    if base.base_model != settings.base_model:
        detail = f"The database was started on {base.base_model!r}, the settings name {settings.base_model!r}."
        remedy = f"Set RATCHET_BASE_MODEL={base.base_model}, or use another RATCHET_VAR."
        return Check("base model", "fail", detail, remedy)
    problem = _find_problem(settings, base)
    if problem:
        return Check("base model", "fail", problem, "Restore its folder with `ratchet restore`, from a backup.")
    return Check("base model", "ok", f"{base.base_model}, pinned as {base.digest[:12]}, is whole.")


def _check_artifacts(settings: Settings) -> Check:
    """Every registered version; those that retention has removed are no problem, save the ones that it never does."""
    with _reading(settings) as (versions, protected):
        pass
    removed, problems = 0, []
    for version in versions:
        if version.number not in protected and not (settings.artifacts / version.folder).exists():
            removed += 1
        elif problem := _find_problem(settings, version):
            problems.append(f"Version {version.number}: {problem}")
    if problems:
        remedy = "Restore the folder from a backup, or promote another version."
        return Check("artifacts", "fail", " ".join(problems), remedy)
    gone = f", {removed} removed" if removed else ""
    return Check("artifacts", "ok", f"{len(versions) - removed} versions match their digests{gone}.")


def _find_problem(settings: Settings, version: Version) -> str | None:
    try:
        found = load_artifact(settings.artifacts / version.folder).digest
    except ArtifactInvalid as error:
        return error.message.split(";")[0] + "."
    except OSError as error:
        return f"{settings.artifacts / version.folder} cannot be read ({error.strerror})."
    return None if found == version.digest else f"{settings.artifacts / version.folder} holds another artifact."


def _measure(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _read_clock(settings: Settings) -> float:
    """Seconds since 1970 by the database's clock."""
    database = Database(settings.database)
    try:
        with database.reading() as session:
            return float(session.scalar(select(database_now_s())) or 0.0)
    finally:
        database.dispose()


@contextmanager
def _reading(settings: Settings) -> Iterator[tuple[list[Version], set[int]]]:
    """All versions, and the numbers of those that are never removed."""
    database = Database(settings.database)
    try:
        with database.reading() as session:
            yield list_versions(session), list_protected(session)
    finally:
        database.dispose()
