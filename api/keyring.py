"""The keys that were used of late, so that not every request asks the database for its key."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.keys import find_key, find_key_by_id, hash_secret
from db.models import ApiKey
from db.session import Database

KNOWN_S = 2.0  # a revoked key is refused after so long at the latest


@dataclass(frozen=True)
class _Known:
    key: ApiKey
    until_s: float


class KeyRing:
    """Finds keys by their secrets, of which it holds hashes only; may be used from many threads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, _Known] = {}

    def find(self, secret: str) -> ApiKey | None:
        """The key with this secret, unless it was revoked more than `KNOWN_S` ago."""
        return self._find(hash_secret(secret), lambda session: find_key(session, secret))

    def find_known(self, secret: str) -> ApiKey | None:
        """`find` without the database: the key with this secret if it was found in the last `KNOWN_S`."""
        known = self._known.get(hash_secret(secret))
        return known.key if known is not None and time.monotonic() < known.until_s else None

    def find_by_id(self, key_id: str) -> ApiKey | None:
        """The key of that id, which is no secret: ask only with an id that we signed. Revoked as in `find`."""
        return self._find(key_id, lambda session: find_key_by_id(session, key_id))

    def _find(self, name: str, ask: Callable[[Session], ApiKey | None]) -> ApiKey | None:
        now_s = time.monotonic()
        known = self._known.get(name)
        if known is not None and now_s < known.until_s:
            return known.key
        with self._database.reading() as session:
            key = ask(session)
        if key is None:
            self._known.pop(name, None)
        else:
            self._known[name] = _Known(key, now_s + KNOWN_S)
        return key
