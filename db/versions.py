"""Queries on versions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from data.errors import NotFound
from db.inserts import insert_numbered, insert_or_none
from db.models import Promotion, Version

BASE_NUMBER = 0


def ensure_base_version(session: Session, digest: str, folder: str, base_model: str) -> Version:
    """Version 0, the base model; where there is none it is registered and put into production.

    A version 0 that is there is returned as it is: compare its digest to notice another base model.
    """
    version = insert_or_none(session, Version, number=BASE_NUMBER, digest=digest, folder=folder, base_model=base_model)
    if version is None:
        return get_version(session, BASE_NUMBER)
    session.add(Promotion(id=1, version_number=BASE_NUMBER, kind="initial", reason="The base model.", actor="ratchet"))
    session.flush()
    return version


def register_version(
    session: Session, run_id: str, digest: str, folder: str, base_model: str, report: dict[str, Any] | None
) -> Version:
    """The version of the run, with the next number; a run that has one keeps it as it is."""
    values = {"digest": digest, "folder": folder, "base_model": base_model, "report": report}
    return insert_numbered(session, Version, Version.number, run_id, **values)


def get_version(session: Session, number: int) -> Version:
    """The version of that number.

    Raises:
        NotFound: there is none.
    """
    version = session.get(Version, number)
    if version is None:
        raise NotFound(f"There is no version {number}.")
    return version


def list_versions(session: Session, limit: int | None = None, before: int | None = None) -> list[Version]:
    """The newest versions, newest first: all, or `limit` of them, or those with a lower number than `before`."""
    versions = select(Version).order_by(Version.number.desc()).limit(limit)
    return list(session.scalars(versions if before is None else versions.where(Version.number < before)))
