"""The key ring: what it remembers, and when a revoked key is refused."""

from __future__ import annotations

import time

from api.keyring import KNOWN_S, KeyRing
from data.vocabulary import KeyRole
from db.keys import create_key, revoke_key
from db.session import Database


class TestKeyRing:
    def test_finds_a_key_and_no_other(self, database: Database) -> None:
        with database.transaction() as session:
            key, secret = create_key(session, KeyRole.REVIEWER, "ward 3")
        ring = KeyRing(database)
        for _ in range(2):  # from the database, then from memory
            found = ring.find(secret)
            assert found is not None
            assert (found.id, found.role) == (key.id, KeyRole.REVIEWER)
        assert ring.find("rk-wrong") is None
        assert ring.find("\ud800") is None

    def test_knows_without_the_database_whom_it_has_just_found(self, database: Database) -> None:
        with database.transaction() as session:
            key, secret = create_key(session, KeyRole.CLIENT, "app")
        ring = KeyRing(database)
        assert ring.find_known(secret) is None
        assert ring.find(secret) is not None
        known = ring.find_known(secret)
        assert known is None or known.id == key.id  # it forgets within seconds
        assert ring.find_known("rk-wrong") is None

    def test_refuses_a_revoked_key_within_seconds(self, database: Database) -> None:
        with database.transaction() as session:
            key, secret = create_key(session, KeyRole.CLIENT, "lost")
        ring = KeyRing(database)
        assert ring.find(secret) is not None
        with database.transaction() as session:
            revoke_key(session, key.id)
        asked_s = time.monotonic()
        while ring.find(secret) is not None:
            assert time.monotonic() - asked_s < 5
        assert KNOWN_S < 5
        assert ring.find(secret) is None

    def test_finds_a_key_by_its_id_until_it_is_revoked(self, database: Database) -> None:
        with database.transaction() as session:
            key, _ = create_key(session, KeyRole.ADMIN, "office")
            revoked, _ = create_key(session, KeyRole.ADMIN, "lost")
            revoke_key(session, revoked.id)
        ring = KeyRing(database)
        for _ in range(2):
            found = ring.find_by_id(key.id)
            assert found is not None
            assert found.role is KeyRole.ADMIN
        assert ring.find_by_id(revoked.id) is None
        assert ring.find_by_id("key-unknown") is None
