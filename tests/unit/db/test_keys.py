"""Keys: made, found, revoked, counted."""

from __future__ import annotations

import pytest

from data.errors import NotFound
from data.vocabulary import KeyRole
from db.keys import (
    VISITOR_KEY_ID,
    count_keys,
    create_key,
    ensure_visitor_key,
    find_key,
    find_key_by_id,
    revoke_key,
)
from db.session import Database


class TestCreateKey:
    def test_stores_no_secret(self, database: Database) -> None:
        with database.transaction() as session:
            key, secret = create_key(session, KeyRole.REVIEWER, "the clinic")
        assert secret.startswith("rk-") and len(secret) > 3 + 128 / 6
        assert secret.startswith(key.prefix)
        stored = [getattr(key, column.name) for column in key.__table__.columns]
        assert secret not in stored


class TestFindKey:
    def test_finds_the_key_by_its_secret(self, database: Database) -> None:
        with database.transaction() as session:
            create_key(session, KeyRole.ADMIN, "another")
            key, secret = create_key(session, KeyRole.CLIENT, "this one")
        with database.reading() as session:
            found = find_key(session, secret)
        assert found is not None
        assert (found.id, found.role) == (key.id, KeyRole.CLIENT)

    @pytest.mark.parametrize("wrong", ["", "rk-", "rk-\x00", "rk-\ud800"])
    def test_finds_none_by_a_wrong_secret(self, database: Database, wrong: str) -> None:
        with database.transaction() as session:
            create_key(session, KeyRole.CLIENT, "a client")
            assert find_key(session, wrong) is None

    def test_does_not_find_a_revoked_key(self, database: Database) -> None:
        with database.transaction() as session:
            key, secret = create_key(session, KeyRole.CLIENT, "a client")
            revoke_key(session, key.id)
            assert find_key(session, secret) is None


class TestRevokeKey:
    def test_keeps_the_time_of_the_first_revocation(self, database: Database) -> None:
        with database.transaction() as session:
            key, _ = create_key(session, KeyRole.CLIENT, "a client")
            first_s = revoke_key(session, key.id).revoked_at_s
        with database.transaction() as session:
            again = revoke_key(session, key.id)
        assert first_s is not None and first_s >= key.created_at_s
        assert again.revoked_at_s == first_s

    def test_knows_no_other_key(self, database: Database) -> None:
        with pytest.raises(NotFound), database.transaction() as session:
            revoke_key(session, "key-none")


class TestCountKeys:
    def test_leaves_out_revoked_keys(self, database: Database) -> None:
        with database.transaction() as session:
            key, _ = create_key(session, KeyRole.CLIENT, "a client")
            create_key(session, KeyRole.CLIENT, "another")
            revoke_key(session, key.id)
            assert count_keys(session) == 1


class TestVisitorKey:
    def test_is_there_once_and_locks_visitors_out_when_revoked(self, database: Database) -> None:
        with database.transaction() as session:
            ensure_visitor_key(session)
            ensure_visitor_key(session)
        with database.transaction() as session:
            key = find_key_by_id(session, VISITOR_KEY_ID)
            assert key is not None
            assert key.role is KeyRole.CLIENT
            revoke_key(session, key.id)
        with database.transaction() as session:
            ensure_visitor_key(session)
            assert find_key_by_id(session, VISITOR_KEY_ID) is None
            assert find_key_by_id(session, "key-unknown") is None
