"""Queries on versions."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from data.errors import Conflict, NotFound
from db.inserts import insert_numbered, insert_or_none
from db.models import Evaluation, Promotion, Version

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
    """The version of the run, with the next number.

    A run that is tried again keeps its number, and the row tells of its latest artifact, which alone is judged.

    Raises:
        Conflict: the row tells of other weights, and these were judged or put into production.
    """
    values = {"digest": digest, "folder": folder, "base_model": base_model, "report": report}
    number = insert_numbered(session, Version, Version.number, run_id, **values).number
    version = session.get_one(Version, number, with_for_update=True, populate_existing=True)  # nobody promotes it now
    if not _is_settled(session, version):
        for name, value in values.items():
            setattr(version, name, value)
        session.flush()
    elif version.digest != digest:
        raise Conflict(
            f"An earlier attempt of this run registered other weights as version {number}, and they were judged or put "
            "into production; start a new run."
        )
    return version


def find_version_of_run(session: Session, run_id: str) -> Version | None:
    """The version that the run made, once it has one."""
    return session.scalars(select(Version).where(Version.run_id == run_id)).one_or_none()


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


def _is_settled(session: Session, version: Version) -> bool:
    """Whether its weights were judged or put into production, so that its number means these and no others."""
    is_judged = exists().where(Evaluation.run_id == version.run_id, Evaluation.finished_at_s.is_not(None))
    was_promoted = exists().where(Promotion.version_number == version.number)
    return bool(session.scalar(select(is_judged | was_promoted)))
