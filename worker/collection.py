"""From the pool to the attempt's snapshot, in a process of its own.

The pool is read whole. A worker that did this itself would keep that memory for good, some 2 kB a row, and would hold
the interpreter's lock while its other threads renew leases and sweep.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread

from sqlalchemy.orm import Session

from data.bias import build_bias
from data.crisis import remembering_crises
from data.curation import build_snapshot_rows, check_sufficiency
from data.errors import RatchetError
from data.recipe import Recipe
from data.snapshot import load_snapshot, save_snapshot
from data.vocabulary import RunStatus, SnapshotRow
from db.holdouts import get_holdout
from db.pool import list_pool_rows
from db.raters import count_rated
from db.runs import set_status
from db.session import Database
from db.snapshots import save_snapshot_rows
from worker.continuation import take_over
from worker.errors import CollectorKilled
from worker.patience import PatientDatabase
from worker.trainer_process import lower_priority

_LOOK_S = 0.5  # between looks at whether the run may go on


@dataclass(frozen=True)
class Attempt:
    """One claimed attempt; `number` is the fencing token of all its writes."""

    run_id: str
    number: int
    recipe: Recipe
    folder: Path
    stops: int = 0  # attempts before it that ended as their worker was stopped

    @property
    def tries(self) -> int:
        """How many attempts count, with this one."""
        return self.number - self.stops


def collect(database_url: str, attempt: Attempt, crisis_memory: Path, check: Callable[[], None]) -> tuple[str, ...]:
    """Freeze the pool into the attempt's folder; returns what is missing for a run, if anything.

    Where an earlier attempt was interrupted in training, its snapshot stays the run's: else any new rating would make
    its checkpoints worthless. An erasure cancels such a run, so no row that is gone comes back this way.

    Args:
        crisis_memory: file of what the crisis classifier said of the pool in the run before, made or renewed here.
        check: raises when the run has to stop; the process is killed then.

    Raises:
        CollectorKilled: the process ended without an answer, as it does when memory runs out.
        RatchetError, OSError: what went wrong in it.
    """
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(
        target=_collect_and_tell, args=(database_url, attempt, crisis_memory, sender), name="collector"
    )
    process.start()
    sender.close()  # so that the end of the process is the end of the pipe
    try:
        while not receiver.poll(_LOOK_S):
            check()
        told: tuple[str, ...] | Exception = receiver.recv()
    except EOFError as error:
        raise CollectorKilled from error
    finally:
        process.kill()
        process.join()
        receiver.close()
    if isinstance(told, Exception):
        raise told
    return told


def _collect_and_tell(database_url: str, attempt: Attempt, crisis_memory: Path, sender: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # of the terminal: the worker decides
    Thread(target=_end_with_parent, daemon=True).start()
    lower_priority(os.getpid())
    database = Database(database_url)
    try:
        sender.send(_collect(PatientDatabase(database, lambda: None), attempt, crisis_memory))
    except (RatchetError, OSError) as error:
        sender.send(error)
    finally:
        database.dispose()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(2)


def _collect(database: PatientDatabase, attempt: Attempt, crisis_memory: Path) -> tuple[str, ...]:
    shutil.rmtree(attempt.folder, ignore_errors=True)
    database.write(lambda session: set_status(session, attempt.run_id, attempt.number, RunStatus.COLLECTING))
    if take_over(attempt.folder):
        rows: Sequence[SnapshotRow] = load_snapshot(attempt.folder / "snapshot")
        manifest = json.loads((attempt.folder / "snapshot" / "manifest.json").read_text())
    else:
        pool, salt, (served, rated) = database.read(
            lambda session: (
                list_pool_rows(session, unrated=attempt.recipe.pseudo_labels),
                get_holdout(session).salt,
                count_rated(session),
            )
        )
        with remembering_crises(crisis_memory):
            result = build_snapshot_rows(pool, salt)
        rows = result.rows
        bias = build_bias(pool, served, rated)
        manifest = save_snapshot(attempt.folder / "snapshot", result, len(pool), salt, bias)

    def save(session: Session) -> None:
        set_status(session, attempt.run_id, attempt.number, RunStatus.COLLECTING)
        save_snapshot_rows(session, attempt.run_id, manifest, rows)

    database.write(save)
    return check_sufficiency(rows, attempt.recipe)
