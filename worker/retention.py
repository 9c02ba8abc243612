"""What goes by itself at each sweep when the settings say how long things are kept; nothing goes by default."""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog

from db.retention import delete_unrated_completions, list_runs_beyond, list_version_folders_beyond
from db.session import Database
from settings import Settings

log = structlog.get_logger()

DAY_S = 86_400.0
COMPLETIONS_PER_SWEEP = 500  # a sweep holds SQLite's one write transaction that long
FOLDERS_PER_SWEEP = 20
_LEAVING = ".leaving-"  # prefix of a folder that is being removed


@dataclass(frozen=True)
class Removed:
    """How many of each went in one sweep."""

    completions: int = 0
    run_folders: int = 0
    artifacts: int = 0


def apply_retention(database: Database, settings: Settings) -> Removed:
    """Remove one batch of what the settings do not keep."""
    completions = run_folders = artifacts = 0
    if settings.keep_unrated_days:
        with database.transaction() as session:
            older_than_s = settings.keep_unrated_days * DAY_S
            completions = delete_unrated_completions(session, older_than_s, COMPLETIONS_PER_SWEEP)
    if settings.keep_run_folders:
        with database.reading() as session:
            run_ids = list_runs_beyond(session, settings.keep_run_folders)
        run_folders = _remove_folders(settings.runs, run_ids)
    if settings.keep_artifacts:
        with database.reading() as session:
            names = list_version_folders_beyond(session, settings.keep_artifacts)
        artifacts = _remove_folders(settings.artifacts, names)
    removed = Removed(completions, run_folders, artifacts)
    if removed != Removed():
        log.info("retention", action="retention", **asdict(removed))
    return removed


def _remove_folders(root: Path, names: list[str]) -> int:
    """Remove up to FOLDERS_PER_SWEEP of these that are there; each is gone at once for whoever looks."""
    for leftover in root.glob(f"{_LEAVING}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    count = 0
    for name in names:
        folder, leaving = root / name, root / f"{_LEAVING}{name}"
        if count == FOLDERS_PER_SWEEP:
            break
        if folder.is_dir() and folder.parent == root:
            folder.rename(leaving)
            shutil.rmtree(leaving, ignore_errors=True)
            count += 1
    return count
