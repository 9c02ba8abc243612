"""Which version stands as the anchor, and which one production replaced."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest
from sqlalchemy.orm import Session

from data.recipe import Margins
from data.vocabulary import Verdict
from db.anchors import Standing, find_standing
from db.evaluations import finish_evaluation, start_evaluation
from db.promotions import get_production, promote, rollback
from db.session import Database
from db.versions import ensure_base_version
from tests.rows import add_trained_version

MARGINS = dataclasses.asdict(Margins())


@pytest.fixture
def started(database: Database) -> Database:
    """The base in production."""
    with database.transaction() as session:
        ensure_base_version(session, "d0", "base", "gpt2")
    return database


def add(session: Session, kind: Literal["gate", "manual"] = "gate", **differences: float) -> int:
    """A version promoted over production with these recorded differences; without any, by nobody's evidence."""
    version = add_trained_version(session)
    if differences:
        metrics = [{"name": name, "difference": value} for name, value in differences.items()]
        start_evaluation(session, str(version.run_id), version.digest, get_production(session).number)
        finish_evaluation(session, str(version.run_id), {"metrics": metrics}, Verdict.PROMOTE)
    promote(session, version.number, kind, "Better.", kind)
    return version.number


def numbers(standing: Standing) -> tuple[int | None, int | None]:
    """Anchor and predecessor."""
    anchor, previous = standing.anchor, standing.previous
    return anchor.number if anchor else None, previous.number if previous else None


class TestFindStanding:
    def test_the_base_stands_alone(self, started: Database) -> None:
        with started.reading() as session:
            standing = find_standing(session, MARGINS)
        assert numbers(standing) == (None, None)
        assert standing.promoted_at_s is None

    def test_what_is_best_in_all_is_its_own_anchor(self, started: Database) -> None:
        with started.transaction() as session:
            add(session, log_perplexity=-0.1, rouge_l=0.01)
            standing = find_standing(session, MARGINS)
        assert numbers(standing) == (None, 0)
        assert standing.promoted_at_s is not None

    def test_holds_to_the_best_where_most_was_lost(self, started: Database) -> None:
        with started.transaction() as session:
            first = add(session, log_perplexity=-0.1, rouge_l=0.01, bleu=0.5)
            second = add(session, log_perplexity=-0.1, rouge_l=-0.015, bleu=0.1)
            assert numbers(find_standing(session, MARGINS)) == (first, first)
            add(session, log_perplexity=-0.1, rouge_l=-0.001, bleu=-0.9)  # a larger loss in margins than ROUGE-L's
            assert numbers(find_standing(session, MARGINS)) == (second, second)

    def test_length_and_ratings_have_no_best(self, started: Database) -> None:
        with started.transaction() as session:
            add(session, log_perplexity=-0.1, reply_words=-9.0, rating_auc=-0.09)
            assert numbers(find_standing(session, MARGINS)) == (None, 0)

    def test_what_nobody_judged_is_held_to_the_last_that_was(self, started: Database) -> None:
        with started.transaction() as session:
            good = add(session, log_perplexity=-0.1)
            forced = add(session, "manual")
            assert numbers(find_standing(session, MARGINS)) == (good, good)
            after = add(session, log_perplexity=-0.1)  # better than what was forced, which says nothing of the others
            assert numbers(find_standing(session, MARGINS)) == (good, forced)
            assert after > forced

    def test_what_was_rolled_back_is_forgotten(self, started: Database) -> None:
        with started.transaction() as session:
            add(session, log_perplexity=-0.1)
            rollback(session, "ann", "Worse.")
            standing = find_standing(session, MARGINS)
        assert numbers(standing) == (None, None)
        assert standing.promoted_at_s is None
