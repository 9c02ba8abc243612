"""The keys that were used of late, so that not every request asks the database for its key."""

from __future__ import annotations

import time
from dataclasses import dataclass

from db.keys import find_key, hash_secret
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
        digest, now_s = hash_secret(secret), time.monotonic()
        known = self._known.get(digest)
        if known is not None and now_s < known.until_s:
            return known.key
        with self._database.reading() as session:
            key = find_key(session, secret)
        if key is None:
            self._known.pop(digest, None)
        else:
            self._known[digest] = _Known(key, now_s + KNOWN_S)
        return key
