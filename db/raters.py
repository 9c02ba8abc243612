"""Raters: how far they agree with experts and others, and the exclusion of one, after which a run goes without.

An exclusion outlives the erasure of its rater: then it holds a pseudonym instead of the name, and every look-up takes
both.
"""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ColumnElement, Select, exists, func, or_, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from data.errors import Conflict, NotFound
from data.raters import Label, RaterWeight, weigh_raters
from data.recipe import Recipe
from data.vocabulary import RunStatus
from db.base import database_now_s
from db.inserts import insert_or_none
from db.models import Completion, Conversation, Feedback, RaterExclusion, Run, Snapshot, SnapshotRow, Version
from db.pseudonyms import PREFIX, is_pseudonym_of, make_pseudonym
from db.runs import create_run, find_active_run, get_run, request_cancel

NameColumn = InstrumentedAttribute[str] | InstrumentedAttribute[str | None]

_IN_FORCE = RaterExclusion.admitted_at_s.is_(None)
_HOLDS_PSEUDONYM = RaterExclusion.rater.startswith(PREFIX)


def is_excluded(session: Session, rater: NameColumn) -> ColumnElement[bool]:
    """That an exclusion of the rater whom this column names is in force."""
    by_name = exists().where(RaterExclusion.rater == rater, _IN_FORCE)
    returned = _list_returned(session, rater)
    return or_(by_name, rater.in_(returned)) if returned else by_name


def _list_returned(session: Session, rater: NameColumn) -> list[str]:
    """The names in this column of raters who were excluded, then erased, and came back."""
    kept = session.scalars(select(RaterExclusion.rater).where(_IN_FORCE, _HOLDS_PSEUDONYM)).all()
    if not kept:
        return []
    names = session.scalars(select(rater).where(rater.is_not(None)).distinct())
    return [str(name) for name in names if any(is_pseudonym_of(pseudonym, str(name)) for pseudonym in kept)]


def weigh_all_raters(session: Session) -> dict[str, RaterWeight]:
    """The weight of each rater who is no expert, from all feedback but that of excluded raters."""
    given = select(Feedback.completion_id, Feedback.rater, Feedback.rating, Feedback.rater_kind)
    rows = session.execute(given.where(~is_excluded(session, Feedback.rater)))
    return weigh_raters(Label(item, rater, rating, kind == "reviewer") for item, rater, rating, kind in rows)


def exclude_rater(session: Session, rater: str, reason: str, actor: str) -> RaterExclusion:
    """Leave the rater's rows out of every later snapshot, mark the versions that were trained on them, queue a retrain.

    An active run that draws on the rows, or may be reading them now, is cancelled; the retrain then waits for it, see
    `settle_exclusions`. Without rows in any snapshot there is nothing to retrain.

    Raises:
        NotFound: no such rater has rated, nor chatted.
        Conflict: the rater is excluded already.
    """
    active = session.scalars(select(Run).where(Run.finished_at_s.is_(None)).with_for_update()).one_or_none()
    if not _lock_known(session, rater):
        raise NotFound("There is no such rater; `ratchet raters list` shows those who rated.")
    if _find_in_force(session, rater) is not None:
        raise Conflict("This rater is excluded already.")
    exclusion = insert_or_none(session, RaterExclusion, rater=rater, reason=reason, actor=actor, marked_versions=[])
    if exclusion is None:
        raise Conflict("This rater is excluded already.")
    run_ids = set(session.scalars(_select_run_ids(rater)))
    _mark_versions(session, exclusion)
    if active is not None and (active.status is RunStatus.COLLECTING or active.id in run_ids):
        exclusion.interrupted_run_id = active.id
        if request_cancel(session, active.id).status.is_active:
            session.flush()
            return exclusion
    if exclusion.interrupted_run_id or exclusion.marked_versions:
        exclusion.retrain_run_id = _find_or_queue_retrain(session)
    session.flush()
    return exclusion


def admit_rater(session: Session, rater: str, actor: str) -> RaterExclusion:
    """Undo the exclusion: the rater's rows are in the next snapshot again.

    Raises:
        NotFound: the rater is not excluded.
    """
    exclusion = _find_in_force(session, rater)
    if exclusion is None:
        raise NotFound("This rater is not excluded; `ratchet raters list` shows who is.")
    exclusion.admitted_at_s = session.scalar(select(database_now_s()))
    exclusion.admitted_by = actor
    session.flush()
    return exclusion


def forget_rater(session: Session, rater: str) -> bool:
    """Put a pseudonym in the place of the name in all exclusions of the rater, and remove their reasons.

    Those in force stay so. False when there was none that holds the name.
    """
    exclusions = session.scalars(select(RaterExclusion).where(RaterExclusion.rater == rater).with_for_update()).all()
    for exclusion in exclusions:
        exclusion.rater, exclusion.reason = make_pseudonym(rater), ""
    session.flush()
    return bool(exclusions)


def settle_exclusions(session: Session) -> list[str]:
    """Queue the retrains that had to wait for a cancelled run; the ids of the exclusions that this was done for.

    Raises:
        Conflict: somebody has started a run at this moment; the next sweep finds it.
    """
    waiting = select(RaterExclusion).where(
        RaterExclusion.interrupted_run_id.is_not(None), RaterExclusion.retrain_run_id.is_(None)
    )
    settled = []
    for exclusion in session.scalars(waiting.order_by(RaterExclusion.created_at_s).with_for_update()):
        if get_run(session, str(exclusion.interrupted_run_id)).status.is_active:
            continue
        _mark_versions(session, exclusion)  # the run may have registered one before it let go
        exclusion.retrain_run_id = _find_or_queue_retrain(session)
        settled.append(exclusion.id)
    session.flush()
    return settled


def get_exclusion(session: Session, exclusion_id: str) -> RaterExclusion:
    """The exclusion of that id.

    Raises:
        NotFound: there is none.
    """
    exclusion = session.get(RaterExclusion, exclusion_id)
    if exclusion is None:
        raise NotFound("There is no such exclusion; its id is in the answer to the exclusion.")
    return exclusion


def list_exclusions(session: Session, *, in_force: bool = False) -> list[RaterExclusion]:
    """All exclusions that there were, or only those in force, newest first."""
    wanted = select(RaterExclusion).order_by(RaterExclusion.created_at_s.desc(), RaterExclusion.id)
    return list(session.scalars(wanted.where(_IN_FORCE) if in_force else wanted))


def list_exclusion_ids(session: Session, raters: Iterable[str]) -> dict[str, str]:
    """The id of the exclusion in force of each of these raters who has one."""
    in_force = list_exclusions(session, in_force=True)
    return {rater: exclusion.id for rater in raters for exclusion in in_force if _is_of(exclusion, rater)}


def count_rated(session: Session) -> tuple[int, int]:
    """How many replies models have served, and how many of them a rater who is no expert has rated."""
    by_model = Completion.version_number.is_not(None)
    served = session.scalar(select(func.count(Completion.id)).where(by_model)) or 0
    rated = select(func.count(func.distinct(Feedback.completion_id))).join(
        Completion, Completion.id == Feedback.completion_id
    )
    return served, session.scalar(rated.where(by_model, Feedback.rater_kind != "reviewer")) or 0


def _find_in_force(session: Session, rater: str) -> RaterExclusion | None:
    """The exclusion of the rater that is in force, locked."""
    may_be = or_(RaterExclusion.rater == rater, _HOLDS_PSEUDONYM)
    found = session.scalars(select(RaterExclusion).where(may_be, _IN_FORCE).with_for_update()).all()
    return next((exclusion for exclusion in found if _is_of(exclusion, rater)), None)


def _is_of(exclusion: RaterExclusion, rater: str) -> bool:
    return exclusion.rater == rater or is_pseudonym_of(exclusion.rater, rater)


def _lock_known(session: Session, rater: str) -> bool:
    """Whether the rater has rated or chatted; an erasure now has to wait, and so finds what is written of the name."""
    rated = select(Feedback.id).where(Feedback.rater == rater)
    chatted = select(Conversation.id).where(Conversation.end_user == rater)
    locks = (rows.limit(1).with_for_update(read=True) for rows in (rated, chatted))
    return any(session.scalars(lock).first() is not None for lock in locks)


def _select_run_ids(rater: str) -> Select[str]:
    """Runs whose snapshots hold what the rater said, or an unrated reply to the rater."""
    feedback_ids = select(Feedback.id).where(Feedback.rater == rater)
    is_in = (Conversation.key_id == Completion.key_id) & (Conversation.id == Completion.conversation_id)
    replies = select(Completion.id).join(Conversation, is_in).where(Conversation.end_user == rater)
    unrated = SnapshotRow.feedback_id.is_(None) & SnapshotRow.completion_id.in_(replies)
    drew = select(Snapshot.run_id).join(SnapshotRow, SnapshotRow.snapshot_id == Snapshot.id)
    return drew.where(or_(SnapshotRow.feedback_id.in_(feedback_ids), unrated)).distinct()


def _mark_versions(session: Session, exclusion: RaterExclusion) -> None:
    trained = select(Version.number).where(Version.run_id.in_(_select_run_ids(exclusion.rater)))
    exclusion.marked_versions = sorted({*exclusion.marked_versions, *session.scalars(trained)})


def _find_or_queue_retrain(session: Session) -> str:
    """An active run will do: one that draws on the rows has been cancelled."""
    run = find_active_run(session) or create_run(session, Recipe().to_dict(), "exclusion")
    return run.id
