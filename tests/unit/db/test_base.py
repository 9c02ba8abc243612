"""Identifiers and the database's clock."""

from __future__ import annotations

import time

from sqlalchemy import select

from db.base import database_now_s, new_id
from db.session import Database


class TestNewId:
    def test_has_the_prefix_and_128_bits(self) -> None:
        prefix, _, bits = new_id("run").partition("-")
        assert prefix == "run"
        assert len(bytes.fromhex(bits)) == 16

    def test_never_repeats(self) -> None:
        assert len({new_id("run") for _ in range(1000)}) == 1000


class TestDatabaseNowS:
    def test_is_between_two_looks_at_our_clock(self, database: Database) -> None:
        before_s = time.time()
        with database.reading() as session:
            now_s = session.scalars(select(database_now_s())).one()
        assert isinstance(now_s, float)
        assert before_s - 0.01 <= now_s <= time.time() + 0.01

    def test_computes_in_sql(self, database: Database) -> None:
        with database.reading() as session:
            assert session.scalars(select(database_now_s() + 60 > database_now_s())).one()
