"""Version 0: the base model, prepared once in a subprocess with torch, then registered."""

from __future__ import annotations

import shutil
import subprocess
import sys
import uuid
from pathlib import Path

from data.errors import NotFound
from db.models import Version
from db.session import Database
from db.versions import BASE_NUMBER, ensure_base_version, get_version
from serving.artifact import load_artifact
from serving.artifact_store import open_store
from settings import Settings
from worker.errors import BaseChanged, TrainerFailed

DIGEST_LETTERS = 16  # of a digest in the name of an artifact's folder


def ensure_base(settings: Settings, database: Database) -> None:
    """Make sure that version 0 exists and is the base model of the settings.

    Raises:
        TrainerFailed: the base model cannot be had; the message says how to get it.
        BaseChanged: version 0 was made from another base model.
        StoreUnavailable: the artifact cannot be stored.
    """
    version = find_base(database)
    if version is None:
        _register_base(settings, database)
    elif version.base_model != settings.base_model:
        raise BaseChanged(
            f"This database was started on the base model {version.base_model!r}, not {settings.base_model!r}; "
            f"set RATCHET_BASE_MODEL={version.base_model}, or use another RATCHET_VAR."
        )


def find_base(database: Database) -> Version | None:
    """Version 0; None while the base model has yet to be prepared."""
    try:
        with database.reading() as session:
            return get_version(session, BASE_NUMBER)
    except NotFound:
        return None


def _register_base(settings: Settings, database: Database) -> None:
    staged = settings.artifacts / f"base-{uuid.uuid4().hex}"
    staged.parent.mkdir(parents=True, exist_ok=True)
    try:
        _prepare(settings.base_model, staged)
        digest = load_artifact(staged).digest
        store = open_store(settings.artifacts, settings.remote_artifacts, settings.artifacts_kept)
        store.publish(staged, digest[:DIGEST_LETTERS])
    finally:
        shutil.rmtree(staged, ignore_errors=True)
    with database.transaction() as session:
        ensure_base_version(session, digest, digest[:DIGEST_LETTERS], settings.base_model)


def _prepare(name: str, folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trainer.base", name, str(folder.absolute())],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[1],
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise TrainerFailed(lines[-1] if lines else f"Preparing the base model {name!r} failed.")
