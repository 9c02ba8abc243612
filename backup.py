"""Backup and restore: one tar file with the database (SQLite), the artifacts that must not be lost, and a manifest.

The manifest is the first member. It names the sha256 of every other one, and nothing is restored that differs. A
PostgreSQL database is left to pg_dump; see docs/operations.md.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import sqlite3
import tarfile
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from data.errors import Conflict, NotFound, RatchetError
from db.models import Version
from db.promotions import build_history, list_promotions
from db.session import BUSY_TIMEOUT_S, Database, build_url
from db.versions import BASE_NUMBER, get_version
from migrations.upgrade import find_revision
from serving.artifact import hash_file, load_artifact
from serving.errors import ArtifactInvalid
from settings import Settings

FORMAT = 1
MANIFEST, DATABASE, ARTIFACTS = "manifest.json", "ratchet.db", "artifacts"
_MANIFEST_BYTES = 10_000_000
_STAGING = ".restoring"


class BackupInvalid(RatchetError):
    """The file is no whole backup of Ratchet; take another one."""


@dataclass(frozen=True)
class Summary:
    """What a backup holds."""

    versions: tuple[int, ...]
    with_database: bool
    size_bytes: int


def write_backup(settings: Settings, file: Path) -> Summary:
    """Write a backup of the running or stopped deployment; `file` appears whole or not at all.

    Raises:
        Conflict: the file exists already.
        NotFound: there is no database, or no folder for the file.
        ArtifactInvalid: an artifact that belongs into it is damaged.
    """
    if file.exists():
        raise Conflict(f"{file} exists already; name another file.")
    if not file.parent.is_dir():
        raise NotFound(f"There is no folder {file.parent}; make it, or name another file.")
    if find_revision(settings.database) is None:
        raise NotFound("There is no database to back up; check RATCHET_VAR and RATCHET_DATABASE_URL.")
    partial = file.parent / f".{file.name}-{uuid.uuid4().hex}"
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".backup-") as folder:
        copy = _copy_database(settings, Path(folder) / DATABASE)
        url = settings.database if copy is None else f"sqlite:///{copy.absolute()}"
        versions = _list_kept(url)
        members = {} if copy is None else {DATABASE: copy}
        for version in versions:
            members |= _list_members(settings, version)
        numbers = [version.number for version in versions]
        facts = {"format": FORMAT, "made_at_s": time.time(), "revision": find_revision(url), "versions": numbers}
        try:
            _write_tar(partial, members, facts)
            partial.replace(file)
        finally:
            partial.unlink(missing_ok=True)
    _fsync(file.parent)
    return Summary(tuple(numbers), copy is not None, file.stat().st_size)


def restore_backup(settings: Settings, file: Path) -> Summary:
    """Put back what a backup holds, into a `var` that is empty; the database comes last.

    Raises:
        Conflict: there is something already where it would go.
        BackupInvalid: the file is damaged, or no backup; nothing was restored.
    """
    _require_empty(settings)
    settings.var.mkdir(parents=True, exist_ok=True)
    staging = settings.var / _STAGING
    try:
        manifest = _extract(file, staging)
        has_database = (staging / DATABASE).exists()
        if has_database and settings.database_url:
            raise Conflict("This backup holds a SQLite database; unset RATCHET_DATABASE_URL to restore it.")
        if (staging / ARTIFACTS).exists():
            settings.artifacts.mkdir(parents=True, exist_ok=True)
            for folder in sorted((staging / ARTIFACTS).iterdir()):
                shutil.move(folder, settings.artifacts / folder.name)
        if has_database:
            (staging / DATABASE).replace(settings.var / DATABASE)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _fsync(settings.var)
    return Summary(tuple(manifest["versions"]), has_database, file.stat().st_size)


def _copy_database(settings: Settings, target: Path) -> Path | None:
    """A copy of the SQLite database as of one moment, while others write; None for PostgreSQL."""
    url = build_url(settings.database)
    if url.get_backend_name() != "sqlite":
        return None
    with (
        closing(sqlite3.connect(str(url.database), timeout=BUSY_TIMEOUT_S)) as source,
        closing(sqlite3.connect(target)) as copy,
    ):
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
    return target


def _list_kept(url: str) -> list[Version]:
    """The base, production and what a rollback leads to."""
    database = Database(url)
    try:
        with database.reading() as session:
            history = build_history(reversed(list_promotions(session)))
            numbers = sorted({BASE_NUMBER, *history[-2:]}) if history else []
            return [get_version(session, number) for number in numbers]
    finally:
        database.dispose()


def _list_members(settings: Settings, version: Version) -> dict[str, Path]:
    artifact = load_artifact(settings.artifacts / version.folder)
    if artifact.digest != version.digest:
        raise ArtifactInvalid(f"{artifact.folder} is not the artifact of version {version.number}; promote another.")
    files = [path for path in sorted(artifact.folder.rglob("*")) if path.is_file()]
    return {f"{ARTIFACTS}/{version.folder}/{path.relative_to(artifact.folder).as_posix()}": path for path in files}


def _write_tar(target: Path, members: dict[str, Path], facts: dict[str, Any]) -> None:
    files = {name: hash_file(path) for name, path in members.items()}
    manifest = json.dumps({**facts, "files": files}, indent=2).encode()
    with _create_private(target) as opened:
        with tarfile.open(fileobj=opened, mode="w") as tar:
            header = tarfile.TarInfo(MANIFEST)
            header.size = len(manifest)
            tar.addfile(header, io.BytesIO(manifest))
            for name, path in members.items():
                tar.add(path, arcname=name, recursive=False)
        opened.flush()
        os.fsync(opened.fileno())


@contextmanager
def _create_private(target: Path) -> Iterator[IO[bytes]]:
    """A new file that its owner alone may read: it holds what people wrote."""
    with os.fdopen(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as opened:
        yield opened


def _require_empty(settings: Settings) -> None:
    shutil.rmtree(settings.var / _STAGING, ignore_errors=True)  # of a restore that was killed
    for folder in (settings.var, settings.artifacts):
        if folder.exists() and (found := sorted(path.name for path in folder.iterdir())):
            raise Conflict(f"{folder} is not empty ({found[0]}); restore into another RATCHET_VAR, or move that away.")


def _extract(file: Path, target: Path) -> dict[str, Any]:
    """Unpack into a new folder and verify; returns the manifest."""
    try:
        with tarfile.open(file, mode="r:") as tar:
            manifest = _read_manifest(tar)
            missing = dict(manifest["files"])
            for member in tar:
                if member.name == MANIFEST:
                    continue
                expected = missing.pop(member.name, None)
                if expected is None or not member.isreg() or not _is_inside(member.name):
                    raise BackupInvalid(f"{file} holds {member.name}, which its manifest does not name.")
                _extract_member(tar, member, target / member.name, expected)
    except (OSError, tarfile.TarError, ValueError, KeyError, TypeError) as error:
        raise BackupInvalid(f"{file} cannot be read as a backup ({error}); take another one.") from error
    if missing:
        raise BackupInvalid(f"{file} lacks {sorted(missing)[0]}; take another backup.")
    return manifest


def _read_manifest(tar: tarfile.TarFile) -> dict[str, Any]:
    first = tar.next()
    if first is None or first.name != MANIFEST or not first.isreg() or first.size > _MANIFEST_BYTES:
        raise ValueError("its manifest is missing")
    opened = tar.extractfile(first)
    assert opened is not None  # of a regular file there is one
    manifest: dict[str, Any] = json.load(opened)
    if manifest["format"] != FORMAT:
        raise ValueError(f"its format is {manifest['format']}, not {FORMAT}")
    return manifest


def _is_inside(name: str) -> bool:
    path = PurePosixPath(name)
    return name == DATABASE or (path.parts[0] == ARTIFACTS and len(path.parts) > 2 and ".." not in path.parts)


def _extract_member(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path, expected: str) -> None:
    opened = tar.extractfile(member)
    assert opened is not None
    target.parent.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    with _create_private(target) as copy:
        while chunk := opened.read(1 << 20):
            digest.update(chunk)
            copy.write(chunk)
        copy.flush()
        os.fsync(copy.fileno())
    if digest.hexdigest() != expected:
        raise BackupInvalid(f"{member.name} in the backup was changed after it was made; take another backup.")


def _fsync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, descriptor)
        os.fsync(descriptor)
