"""Holding a run: a thread renews its lease, stores its progress, and says when to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from data.vocabulary import RunStatus
from db.errors import LeaseLost
from db.runs import renew_lease, set_status
from db.session import Database
from worker.errors import RunCancelled, WorkerStopping

log = structlog.get_logger()
RENEWALS_PER_LEASE = 4
PROGRESS_S = 2.0  # at least so often, for whoever watches the progress
StopReason = RunCancelled | LeaseLost | WorkerStopping

_open_keepers: set[LeaseKeeper] = set()


def move_on(session: Session, run_id: str, attempt: int, status: RunStatus) -> None:
    """Set the status of a held run, see `set_status`, unless it is to be cancelled.

    The row stays locked until the transaction ends, so its other writes stand only if nobody asked before; an erasure
    or an exclusion that asks later finds the run as they leave it.

    Raises:
        RunCancelled: an admin, an erasure or an exclusion asked for that.
    """
    if set_status(session, run_id, attempt, status).cancel_requested:
        raise RunCancelled


def stop_all_runs() -> None:
    """Have every run of this process stop, because the process is about to."""
    for keeper in list(_open_keepers):
        keeper.stop(WorkerStopping())


class LeaseKeeper:
    """Renews the lease of one attempt until closed; calls `on_stop` once when the run is lost or cancelled.

    A database that is briefly away is no loss yet: the lease runs on, and its end is judged by the database's clock.
    """

    def __init__(self, database: Database, run_id: str, attempt: int, lease_s: float) -> None:
        self._database, self._run_id, self._attempt, self._lease_s = database, run_id, attempt, lease_s
        self._progress: dict[str, Any] | None = None
        self._stop_reason: StopReason | None = None
        self._on_stop: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_closed, name=f"lease-{run_id}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        _open_keepers.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _open_keepers.discard(self)
        self._closed.set()
        self._thread.join()

    def report(self, progress: dict[str, Any]) -> None:
        """Have the progress stored at the next renewal."""
        self._progress = progress

    def watch(self, on_stop: Callable[[], None] | None) -> None:
        """Call `on_stop` when the run is lost or cancelled; at once if it already is. None forgets it."""
        with self._lock:
            self._on_stop = on_stop
            stopped = self._stop_reason is not None
        if stopped and on_stop:
            on_stop()

    def check(self) -> None:
        """Raise RunCancelled, LeaseLost or WorkerStopping when the run has to stop."""
        if self._stop_reason is not None:
            raise self._stop_reason

    def _renew_until_closed(self) -> None:
        while not self._closed.wait(min(PROGRESS_S, self._lease_s / RENEWALS_PER_LEASE)):
            try:
                with self._database.transaction() as session:
                    state = renew_lease(session, self._run_id, self._attempt, self._lease_s, self._progress)
            except SQLAlchemyError as error:
                log.warning(
                    "lease not renewed",
                    action="lease_renew_error",
                    run_id=self._run_id,
                    error=type(error).__name__,
                )
                continue
            if state != "held":
                self.stop(RunCancelled() if state == "cancel" else LeaseLost(f"Run {self._run_id} was taken over."))
                return

    def stop(self, reason: StopReason) -> None:
        """Make `check` raise `reason` from now on; the first reason stands."""
        with self._lock:
            if self._stop_reason is not None:
                return
            self._stop_reason = reason
            on_stop = self._on_stop
        log.info("run has to stop", action="run_stop", run_id=self._run_id, reason=type(reason).__name__)
        if on_stop:
            on_stop()
