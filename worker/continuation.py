"""What an attempt takes over from the one before it: the snapshot and the trainer's checkpoints; and their end."""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

from data.errors import InvalidDataset, NotFound
from data.snapshot import load_snapshot
from db.runs import get_run
from db.session import Database
from settings import Settings

log = structlog.get_logger()

_CHECKPOINTS, _SNAPSHOT = "checkpoints", "snapshot"


def take_over(attempt_folder: Path) -> bool:
    """Move the newest former attempt's snapshot and checkpoints into this one's folder; False when there are none.

    They are moved, not shared: a former trainer that is still there, because it was only stopped, finds nothing to
    write to. The trainer checks that the checkpoints are whole and belong to the snapshot and the recipe.
    """
    formers = [path.parent for path in attempt_folder.parent.glob(f"attempt-*/{_CHECKPOINTS}")]
    for former in sorted(formers, key=_get_number, reverse=True):
        if former == attempt_folder:
            continue
        try:
            load_snapshot(former / _SNAPSHOT)
            attempt_folder.mkdir(parents=True, exist_ok=True)
            for name in (_SNAPSHOT, _CHECKPOINTS):
                (former / name).rename(attempt_folder / name)
        except (InvalidDataset, OSError):
            for name in (_SNAPSHOT, _CHECKPOINTS):
                shutil.rmtree(attempt_folder / name, ignore_errors=True)
            continue
        log.info("attempt taken over", action="attempt_continued", former=former.name, attempt=attempt_folder.name)
        return True
    return False


def remove_checkpoints(run_folder: Path) -> None:
    """Give their space back: the run has ended."""
    for folder in run_folder.glob(f"attempt-*/{_CHECKPOINTS}"):
        shutil.rmtree(folder, ignore_errors=True)


def remove_stale_checkpoints(database: Database, settings: Settings) -> None:
    """Do so for every run that ended while no worker held it."""
    run_folders = {path.parents[1] for path in settings.runs.glob(f"*/attempt-*/{_CHECKPOINTS}")}
    for folder in run_folders:
        if not _is_active(database, folder.name):
            remove_checkpoints(folder)


def _is_active(database: Database, run_id: str) -> bool:
    try:
        with database.reading() as session:
            return get_run(session, run_id).status.is_active
    except NotFound:
        return False


def _get_number(attempt_folder: Path) -> int:
    number = attempt_folder.name.removeprefix("attempt-")
    return int(number) if number.isdecimal() else 0
