"""Queries on promotions: which version is in production, and how it came to be."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, Protocol

from sqlalchemy import select
from sqlalchemy.orm import Session

from data.errors import Conflict, NotFound
from db.inserts import insert_or_none
from db.models import Promotion, Version
from db.versions import get_version


def get_production(session: Session) -> Version:
    """The version in production.

    Raises:
        NotFound: nothing was ever promoted; see `ensure_base_version`.
    """
    latest = find_latest_promotion(session)
    if latest is None:
        raise NotFound("No version is in production yet; register the base model first.")
    return get_version(session, latest.version_number)


def find_latest_promotion(session: Session) -> Promotion | None:
    """The promotion that made the present production."""
    return session.scalars(select(Promotion).order_by(Promotion.id.desc()).limit(1)).one_or_none()


def list_promotions(session: Session) -> list[Promotion]:
    """All promotions, newest first."""
    return list(session.scalars(select(Promotion).order_by(Promotion.id.desc())))


def promote(
    session: Session,
    number: int,
    kind: Literal["gate", "manual"],
    reason: str,
    actor: str,
    run_id: str | None = None,
    expected: int | None = None,
) -> Promotion:
    """Put a version into production; `expected` is the production that the decision was made against, if any.

    Raises:
        NotFound: there is no such version.
        Conflict: it is in production already, or production is not what was expected, or moved this instant.
    """
    get_version(session, number)
    latest = find_latest_promotion(session)
    current = None if latest is None else latest.version_number
    if current == number:
        raise Conflict(f"Version {number} is in production already.")
    if expected is not None and current != expected:
        raise Conflict(f"Version {current} is in production now, not {expected}; decide again.")
    return _move_production(
        session, latest, version_number=number, kind=kind, reason=reason, actor=actor, run_id=run_id
    )


def rollback(session: Session, actor: str, reason: str) -> Promotion:
    """Go back to the version that was in production before the present one; again, to the one before that.

    Raises:
        Conflict: there is none before it, or production was moved this instant.
    """
    promotions = list_promotions(session)
    history = build_history(reversed(promotions))
    if len(history) < 2:
        raise Conflict("There is no earlier version in production to go back to.")
    return _move_production(
        session, promotions[0], version_number=history[-2], kind="rollback", reason=reason, actor=actor
    )


def is_rolled_back(session: Session, digest: str) -> bool:
    """Whether production was last taken away from weights of this digest by a rollback, and no admin put them back."""
    digests = {version.number: version.digest for version in session.scalars(select(Version))}
    is_out = False
    for promotion in reversed(list_promotions(session)):
        if promotion.kind == "rollback" and digests.get(promotion.previous_version or 0) == digest:
            is_out = True
        if digests[promotion.version_number] == digest:
            is_out = False
    return is_out


class Move(Protocol):
    """A promotion, in whatever form."""

    @property
    def kind(self) -> str:
        """initial, gate, manual or rollback."""

    @property
    def version_number(self) -> int:
        """Where it led."""


def build_history(promotions: Iterable[Move]) -> list[int]:
    """The versions put into production and not rolled back, in order, from promotions oldest first."""
    history: list[int] = []
    for promotion in promotions:
        if promotion.kind == "rollback":
            history.pop()
        else:
            history.append(promotion.version_number)
    return history


def _move_production(session: Session, latest: Promotion | None, **values: Any) -> Promotion:
    """Add the promotion that follows `latest`, unless another has just taken its place."""
    next_id = 1 if latest is None else latest.id + 1
    previous = None if latest is None else latest.version_number
    promotion = insert_or_none(session, Promotion, id=next_id, previous_version=previous, **values)
    if promotion is None:
        raise Conflict("Production was moved by someone else at this moment; decide again.")
    return promotion
