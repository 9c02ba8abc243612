"""Queries on swaps, the audit of what server processes serve."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import Swap


def record_swap(
    session: Session, process: str, version_number: int, succeeded: bool, detail: str, seconds: float
) -> Swap:
    """Note that a process (host and pid) tried to serve the version; `seconds` is how long that took."""
    swap = Swap(process=process, version_number=version_number, succeeded=succeeded, detail=detail, seconds=seconds)
    session.add(swap)
    session.flush()
    return swap


def list_swaps(session: Session, limit: int = 50) -> list[Swap]:
    """The newest swaps, newest first."""
    return list(session.scalars(select(Swap).order_by(Swap.id.desc()).limit(limit)))
