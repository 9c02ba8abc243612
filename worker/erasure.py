"""The rest of an erasure, at each sweep until it is done: files of runs, the caches, the bytes of deleted rows."""

from __future__ import annotations

import shutil
from pathlib import Path

import structlog

from data.errors import Conflict
from data.trunk_index import find_trunk_index
from db.erasure import finish_erasure, list_gone_row_ids, list_unfinished_erasure_ids, settle_erasure
from db.session import Database
from settings import Settings

log = structlog.get_logger()

KEPT = frozenset({"artifact", "run.json", "metrics.jsonl"})  # weights and numbers; all else may hold texts


def continue_erasures(database: Database, settings: Settings) -> None:
    """Take each erasure as far as it goes now.

    One is finished when a later sweep finds nothing more to remove: until then a process that was ending may have
    written again.
    """
    with database.reading() as session:
        unfinished = list_unfinished_erasure_ids(session)
    clean = [erasure_id for erasure_id in unfinished if _is_clean(database, settings, erasure_id)]
    if not clean or not database.compact():
        return
    with database.transaction() as session:
        for erasure_id in clean:
            finish_erasure(session, erasure_id)
    for erasure_id in clean:
        log.info("erasure finished", action="erasure_finished", erasure_id=erasure_id)


def remove_run_files(folder: Path) -> bool:
    """Remove from the attempts of a run all that may hold texts; False when there was nothing."""
    doomed = [path for path in folder.glob("attempt-*/*") if path.name not in KEPT]
    for path in doomed:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    return bool(doomed)


def _is_clean(database: Database, settings: Settings, erasure_id: str) -> bool:
    try:
        with database.transaction() as session:
            erasure = settle_erasure(session, erasure_id)
    except Conflict:  # someone has started a run at this moment; the next sweep finds it
        return False
    if erasure is None:
        return False
    removed = [remove_run_files(settings.runs / run_id) for run_id in erasure.run_ids]
    removed.append(forget_gone_rows(database, settings.trunk_cache))
    removed.append(remove_holdout_cache(settings.holdout_cache))
    removed.append(remove_crisis_memory(settings.crisis_memory))
    return not any(removed)


def remove_holdout_cache(folder: Path) -> bool:
    """Remove every kept answer to the hold-out, whose prompts and replies no index lists; False without any.

    It costs the next run the time of asking production again, and no more.
    """
    if not folder.exists():
        return False
    shutil.rmtree(folder, ignore_errors=True)
    return True


def remove_crisis_memory(file: Path) -> bool:
    """Remove the digests of what the crisis classifier read, also half written ones; False when there was nothing."""
    doomed = list(file.parent.glob(f"*{file.name}"))
    for path in doomed:
        path.unlink(missing_ok=True)
    return bool(doomed)


def forget_gone_rows(database: Database, folder: Path) -> bool:
    """Remove from the trunk cache what was kept of rows that the database has no more; False when there was nothing.

    A text that was made of two rows goes with either. An index that cannot be read is removed with all that it held.
    """
    index = find_trunk_index(folder)
    if index is None:
        return False
    try:
        with database.reading() as session:
            gone = list_gone_row_ids(session, index.list_owners())
        return index.forget(gone)
    finally:
        index.close()
