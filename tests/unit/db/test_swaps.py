"""Swaps: the audit of what servers serve."""

from __future__ import annotations

from db.session import Database
from db.swaps import list_swaps, record_swap
from db.versions import ensure_base_version


class TestRecordSwap:
    def test_is_listed_newest_first(self, database: Database) -> None:
        with database.transaction() as session:
            ensure_base_version(session, "d0", "base", "gpt2")
            record_swap(session, "host:1", 0, succeeded=False, detail="The canary said nothing.", seconds=0.5)
            record_swap(session, "host:1", 0, succeeded=True, detail="", seconds=2.5)
        with database.reading() as session:
            swaps = list_swaps(session)
            assert list_swaps(session, limit=1) == swaps[:1]
        assert [(swap.succeeded, swap.detail, swap.seconds) for swap in swaps] == [
            (True, "", 2.5),
            (False, "The canary said nothing.", 0.5),
        ]
