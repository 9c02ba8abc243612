"""Promotions: the production pointer and its way back."""

from __future__ import annotations

from itertools import pairwise

import pytest
from sqlalchemy.orm import Session

from data.errors import Conflict, NotFound
from db.promotions import (
    find_latest_promotion,
    get_production,
    is_rolled_back,
    list_promotions,
    promote,
    rollback,
)
from db.session import Database
from db.versions import ensure_base_version, register_version
from tests.rows import add_finished_run, run_at_once


@pytest.fixture
def versions(database: Database) -> None:
    """Versions 0 (in production) to 3."""
    with database.transaction() as session:
        ensure_base_version(session, "d0", "base", "gpt2")
        for number in (1, 2, 3):
            register_version(session, add_finished_run(session), f"d{number}", f"v{number}", "gpt2", None)


def go_back(session: Session) -> int:
    """The version that a rollback leads to."""
    return rollback(session, "admin", "It was rude.").version_number


@pytest.mark.usefixtures("versions")
class TestPromote:
    def test_moves_production_and_says_from_where(self, database: Database) -> None:
        with database.transaction() as session:
            promote(session, 2, "gate", "Better.", "gate")
        with database.reading() as session:
            latest = find_latest_promotion(session)
            assert get_production(session).digest == "d2"
        assert latest is not None
        assert (latest.version_number, latest.previous_version, latest.kind) == (2, 0, "gate")

    def test_refuses_what_is_in_production(self, database: Database) -> None:
        with pytest.raises(Conflict, match="already"), database.transaction() as session:
            promote(session, 0, "manual", "Once more.", "admin")

    def test_refuses_a_decision_made_against_another_production(self, database: Database) -> None:
        with database.transaction() as session:
            promote(session, 1, "manual", "I like it.", "admin")
            with pytest.raises(Conflict, match="Version 1 is in production now"):
                promote(session, 2, "gate", "Better than 0.", "gate", expected=0)
            promote(session, 2, "gate", "Better than 1.", "gate", expected=1)

    def test_knows_no_other_version(self, database: Database) -> None:
        with pytest.raises(NotFound), database.transaction() as session:
            promote(session, 9, "manual", "A guess.", "admin")

    def test_many_at_once_make_an_unbroken_chain(self, database: Database) -> None:
        waiting = iter([1, 2, 3] * 3)

        def promote_next(session: Session) -> None:
            try:
                promote(session, next(waiting), "manual", "Now.", "admin")
            except Conflict:
                return

        run_at_once(database, 9, promote_next)
        with database.reading() as session:
            chain = list_promotions(session)[::-1]
        assert len(chain) > 1
        for earlier, later in pairwise(chain):
            assert later.previous_version == earlier.version_number != later.version_number


@pytest.mark.usefixtures("versions")
class TestRollback:
    def test_goes_back_step_by_step_to_the_first(self, database: Database) -> None:
        with database.transaction() as session:
            promote(session, 1, "gate", "Better.", "gate")
            promote(session, 3, "gate", "Better still.", "gate")
            assert go_back(session) == 1
            assert go_back(session) == 0
            with pytest.raises(Conflict, match="no earlier version"):
                go_back(session)
            assert [promotion.kind for promotion in list_promotions(session)] == [
                *("rollback", "rollback", "gate", "gate", "initial")
            ]

    def test_after_a_new_promotion_goes_back_to_where_that_began(self, database: Database) -> None:
        with database.transaction() as session:
            promote(session, 1, "gate", "Better.", "gate")
            promote(session, 2, "gate", "Better still.", "gate")
            go_back(session)
            promote(session, 3, "gate", "Better than 1.", "gate")
            assert go_back(session) == 1
            assert go_back(session) == 0


class TestGetProduction:
    def test_needs_a_promotion(self, database: Database) -> None:
        with pytest.raises(NotFound), database.reading() as session:
            get_production(session)


@pytest.mark.usefixtures("versions")
class TestIsRolledBack:
    def test_until_an_admin_puts_the_weights_back(self, database: Database) -> None:
        with database.transaction() as session:
            promote(session, 1, "gate", "Better.", "gate")
            assert not is_rolled_back(session, "d1")
            rollback(session, "admin", "It was rude.")
            assert is_rolled_back(session, "d1")
            assert not is_rolled_back(session, "d0")
            promote(session, 1, "manual", "It was not so rude.", "admin")
            assert not is_rolled_back(session, "d1")

    def test_counts_the_weights_not_the_number(self, database: Database) -> None:
        with database.transaction() as session:
            again = register_version(session, add_finished_run(session), "d1", "v1", "gpt2", None)
            promote(session, 1, "gate", "Better.", "gate")
            rollback(session, "admin", "It was rude.")
            promote(session, again.number, "manual", "The same again.", "admin")
            assert not is_rolled_back(session, "d1")
