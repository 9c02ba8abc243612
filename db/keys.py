"""Queries on API keys."""

from __future__ import annotations

import hashlib
import hmac
import secrets

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data.errors import NotFound
from data.vocabulary import KeyRole
from db.base import database_now_s
from db.inserts import insert_or_none
from db.models import ApiKey

SECRET_BYTES = 32
PREFIX_LENGTH = 8
VISITOR_KEY_ID = "key-visitors"


def create_key(session: Session, role: KeyRole, name: str) -> tuple[ApiKey, str]:
    """A new key and its secret, which is stored nowhere: show it now or never."""
    secret = "rk-" + secrets.token_urlsafe(SECRET_BYTES)
    key = ApiKey(role=role, name=name, prefix=secret[:PREFIX_LENGTH], secret_sha256=hash_secret(secret))
    session.add(key)
    session.flush()
    return key, secret


def find_key(session: Session, secret: str) -> ApiKey | None:
    """The key with this secret, unless it was revoked."""
    digest = hash_secret(secret)
    key = session.scalars(
        select(ApiKey).where(ApiKey.secret_sha256 == digest, ApiKey.revoked_at_s.is_(None))
    ).one_or_none()
    return key if key is not None and hmac.compare_digest(key.secret_sha256, digest) else None


def find_key_by_id(session: Session, key_id: str) -> ApiKey | None:
    """The key of that id, unless it was revoked."""
    return session.scalars(select(ApiKey).where(ApiKey.id == key_id, ApiKey.revoked_at_s.is_(None))).one_or_none()


def ensure_visitor_key(session: Session) -> None:
    """The client key under which visitors chat without one of their own; nobody knows its secret.

    Revoking it locks all visitors out.
    """
    secret = secrets.token_urlsafe(SECRET_BYTES)
    values = {"role": KeyRole.CLIENT, "name": "visitors", "prefix": "", "secret_sha256": hash_secret(secret)}
    insert_or_none(session, ApiKey, id=VISITOR_KEY_ID, **values)


def revoke_key(session: Session, key_id: str) -> ApiKey:
    """Refuse the key from now on; a key that is revoked stays so.

    Raises:
        NotFound: there is no such key.
    """
    key = session.get(ApiKey, key_id)
    if key is None:
        raise NotFound(f"There is no key {key_id!r}.")
    if key.revoked_at_s is None:
        key.revoked_at_s = session.scalar(select(database_now_s()))
        session.flush()
    return key


def list_keys(session: Session) -> list[ApiKey]:
    """All keys, newest first, the revoked ones too."""
    return list(session.scalars(select(ApiKey).order_by(ApiKey.created_at_s.desc(), ApiKey.id)))


def count_keys(session: Session) -> int:
    """How many keys are in force."""
    return session.scalar(select(func.count()).where(ApiKey.revoked_at_s.is_(None))) or 0


def hash_secret(secret: str) -> str:
    """What is stored of a secret."""
    # A plain hash will do, for our secrets are random. A caller may send any string as one.
    return hashlib.sha256(secret.encode(errors="surrogatepass")).hexdigest()
