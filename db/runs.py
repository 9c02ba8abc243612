"""Queries on runs. Every change is a conditional UPDATE by the database's clock, right whoever races.

Who claims a run gets its `attempt` as a fencing token: a write with an older one changes nothing.
"""

from __future__ import annotations

from typing import Any, Literal

from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_, update
from sqlalchemy.orm import Session

from data.errors import Conflict, NotFound
from data.vocabulary import JUDGED_STATUSES, RunStatus
from db.base import database_now_s
from db.errors import LeaseLost
from db.inserts import insert_or_none
from db.models import Run, Trigger

Lease = Literal["held", "lost", "cancel"]

_IS_ACTIVE = Run.finished_at_s.is_(None)
_HAS_NO_LIVE_LEASE = or_(Run.lease_until_s.is_(None), Run.lease_until_s < database_now_s())


def create_run(session: Session, recipe: dict[str, Any], trigger: Trigger, window_key: str | None = None) -> Run:
    """Queue a run; `window_key` names the slot of the schedule that asks for it.

    Raises:
        Conflict: another run is active, or that window has had its run.
    """
    run = insert_or_none(session, Run, recipe=recipe, trigger=trigger, window_key=window_key)
    if run is not None:
        return run
    active = find_active_run(session)
    if active is not None:
        raise Conflict(f"Run {active.id} is still {active.status}; wait for its end, or cancel it.")
    raise Conflict(f"The window {window_key!r} has had its run.")


def get_run(session: Session, run_id: str) -> Run:
    """The run as it now stands in the database.

    Raises:
        NotFound: there is no such run.
    """
    run = session.get(Run, run_id, populate_existing=True)
    if run is None:
        raise NotFound(f"There is no run {run_id!r}.")
    return run


def list_runs(session: Session, limit: int = 50, before: str | None = None) -> list[Run]:
    """The newest runs, newest first; with `before`, those that follow that run in this order.

    Raises:
        NotFound: there is no run `before`.
    """
    runs = select(Run).order_by(Run.created_at_s.desc(), Run.id.desc()).limit(limit)
    if before is not None:
        runs = runs.where(tuple_(Run.created_at_s, Run.id) < (get_run(session, before).created_at_s, before))
    return list(session.scalars(runs))


def find_active_run(session: Session) -> Run | None:
    """The one run that has not ended."""
    return session.scalars(select(Run).where(_IS_ACTIVE)).one_or_none()


def find_judged_run(session: Session) -> Run | None:
    """The newest run whose rows were judged, or found too few; not one that failed or was cancelled."""
    judged = select(Run).where(Run.status.in_(JUDGED_STATUSES)).order_by(Run.created_at_s.desc(), Run.id.desc())
    return session.scalars(judged.limit(1)).one_or_none()


def claim_run(session: Session, run_id: str, owner: str, lease_s: float) -> Run | None:
    """Make `owner` the holder for `lease_s` seconds, or None when the run has ended or someone holds it."""
    return _update(
        session,
        and_(Run.id == run_id, _IS_ACTIVE, _HAS_NO_LIVE_LEASE),
        attempt=Run.attempt + 1,
        lease_owner=owner,
        lease_until_s=database_now_s() + lease_s,
        started_at_s=func.coalesce(Run.started_at_s, database_now_s()),
    )


def renew_lease(session: Session, run_id: str, attempt: int, lease_s: float, progress: dict[str, Any] | None) -> Lease:
    """Hold the run for `lease_s` seconds from now and, unless None, store the progress.

    Returns:
        "lost": stop, and publish nothing; also where the lease was released, which a renewal that comes late must not
        undo. "cancel": held, but someone wants it cancelled; finish it so.
    """
    values: dict[str, Any] = {"lease_until_s": database_now_s() + lease_s}
    if progress is not None:
        values["progress"] = progress
    run = _update(session, and_(_is_held(run_id, attempt), Run.lease_until_s.is_not(None)), **values)
    if run is None:
        return "lost"
    return "cancel" if run.cancel_requested else "held"


def release_lease(session: Session, run_id: str, attempt: int, *, counts: bool = True) -> None:
    """Let another claim the run now; nothing happens when it is no longer held by that attempt.

    One that does not count, because the worker was stopped, is none of the attempts after which the run is given up.
    """
    values: dict[str, Any] = {"lease_owner": None, "lease_until_s": None}
    if not counts:
        values["stops"] = Run.stops + 1
    _update(session, and_(_is_held(run_id, attempt), Run.lease_until_s.is_not(None)), **values)


def set_status(session: Session, run_id: str, attempt: int, status: RunStatus, **fields: Any) -> Run:
    """Move an active run on, and set other columns of it by name. In the same transaction as other writes of
    the holder, it guards them all: they are undone with it.

    Raises:
        LeaseLost: another attempt holds the run, or it has ended.
        ValueError: the status is an outcome; see `finish_run`.
    """
    if not status.is_active:
        raise ValueError(f"{status} is an outcome; finish_run sets it.")
    return _write_as_holder(session, run_id, attempt, status=status, **fields)


def finish_run(
    session: Session,
    run_id: str,
    attempt: int,
    status: RunStatus,
    reason: str | None,
    version_number: int | None = None,
) -> Run:
    """End the run with its outcome, and with the version that it made, if any.

    Raises:
        LeaseLost: another attempt holds the run, or it has ended.
        ValueError: the status is not an outcome; see `set_status`.
    """
    if status.is_active:
        raise ValueError(f"{status} is not an outcome; set_status sets it.")
    fields = {} if version_number is None else {"version_number": version_number}
    return _write_as_holder(session, run_id, attempt, **_ending(status, reason), **fields)


def request_cancel(session: Session, run_id: str) -> Run:
    """Cancel at once a run that nobody holds; of one that is held, tell the holder at its next renewal.

    Raises:
        NotFound: there is no such run.
        Conflict: it has ended.
    """
    active = and_(Run.id == run_id, _IS_ACTIVE)
    ending = _ending(RunStatus.CANCELLED, "Cancelled while no worker held it.")
    run = _update(session, and_(active, _HAS_NO_LIVE_LEASE), cancel_requested=True, **ending)
    run = run or _update(session, active, cancel_requested=True)
    if run is None:
        raise Conflict(f"Run {run_id} has ended already: {get_run(session, run_id).status}.")
    return run


def list_run_ids_to_nudge(session: Session, older_than_s: float) -> list[str]:
    """Active runs that nobody holds and whose last queue message, if any, is over `older_than_s` old."""
    is_due = or_(Run.nudged_at_s.is_(None), Run.nudged_at_s < database_now_s() - older_than_s)
    return list(session.scalars(select(Run.id).where(_IS_ACTIVE, _HAS_NO_LIVE_LEASE, is_due)))


def mark_nudged(session: Session, run_id: str) -> None:
    """Note that a queue message for the run is being sent."""
    _update(session, Run.id == run_id, nudged_at_s=database_now_s())


def fail_exhausted_runs(session: Session, max_attempts: int) -> list[str]:
    """Fail the runs whose holder fell silent in attempt `max_attempts` that counts, or later, and return their ids."""
    is_exhausted = and_(_IS_ACTIVE, Run.lease_until_s < database_now_s(), Run.attempt - Run.stops >= max_attempts)
    reason = f"Given up: the worker fell silent in each of {max_attempts} attempts; its log says why."
    run = _update(session, is_exhausted, **_ending(RunStatus.FAILED, reason))  # at most one run is active
    return [] if run is None else [run.id]


def _is_held(run_id: str, attempt: int) -> ColumnElement[bool]:
    return and_(Run.id == run_id, Run.attempt == attempt, _IS_ACTIVE)


def _ending(status: RunStatus, reason: str | None) -> dict[str, Any]:
    """The columns that end a run."""
    return {
        "status": status,
        "reason": reason,
        "lease_owner": None,
        "lease_until_s": None,
        "finished_at_s": database_now_s(),
    }


def _write_as_holder(session: Session, run_id: str, attempt: int, **values: Any) -> Run:
    run = _update(session, _is_held(run_id, attempt), **values)
    if run is None:
        raise LeaseLost(f"Attempt {attempt} no longer holds run {run_id}; stop, and publish nothing.")
    return run


def _update(session: Session, condition: ColumnElement[bool], **values: Any) -> Run | None:
    """Update the run that meets the condition, and return it as it then is."""
    statement = update(Run).where(condition).values(values).returning(Run)
    options = {"synchronize_session": False, "populate_existing": True}
    return session.scalars(statement, execution_options=options).one_or_none()
