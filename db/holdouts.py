"""Queries on hold-outs: which one is in use, what it has been used for, and how a new one follows it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data.errors import Conflict
from data.lifetime import Budget
from data.splitting import DEFAULT_SALT
from db.inserts import insert_or_none
from db.models import Evaluation, HoldoutEpoch, Promotion
from db.runs import find_active_run

_DECIDED = ("gate", "manual")


@dataclass(frozen=True)
class Holdout:
    """The hold-out in use: its number from 1, the salt that draws it, and its use so far."""

    number: int
    salt: str
    budget: Budget


def get_holdout(session: Session) -> Holdout:
    """The hold-out in use."""
    epoch = session.scalars(select(HoldoutEpoch).order_by(HoldoutEpoch.number.desc()).limit(1)).one_or_none()
    asked, promoted = (epoch.consultations_before, epoch.promotions_before) if epoch else (0, 0)
    consultations = select(func.count(Evaluation.id)).where(Evaluation.consultation > asked)
    promotions = select(func.count(Promotion.id)).where(Promotion.id > promoted, Promotion.kind.in_(_DECIDED))
    budget = Budget(consultations=session.scalar(consultations) or 0, promotions=session.scalar(promotions) or 0)
    return Holdout(epoch.number if epoch else 1, epoch.salt if epoch else DEFAULT_SALT, budget)


def open_holdout(session: Session, opened_by: str, reason: str) -> Holdout:
    """Draw a new hold-out by a new random salt; its budget is whole.

    Raises:
        Conflict: a run is active, or another new hold-out is being drawn at this moment.
    """
    active = find_active_run(session)
    if active is not None:
        raise Conflict(f"Run {active.id} is still {active.status}; wait for its end, or cancel it.")
    epoch = insert_or_none(
        session,
        HoldoutEpoch,
        number=get_holdout(session).number + 1,
        salt=f"ratchet-split-{secrets.token_hex(8)}",
        consultations_before=session.scalar(select(func.max(Evaluation.consultation))) or 0,
        promotions_before=session.scalar(select(func.max(Promotion.id))) or 0,
        reason=reason,
        opened_by=opened_by,
    )
    if epoch is None:
        raise Conflict("Someone else has just drawn a new hold-out; look at it before drawing another.")
    return get_holdout(session)
