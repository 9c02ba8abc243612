"""Importing examples."""

from __future__ import annotations

from sqlalchemy import select

from data.vocabulary import Example, Rating
from db import models
from db.examples import add_examples, count_examples
from db.session import Database
from tests.rows import run_at_once

EXAMPLES = [
    Example(context="I cannot sleep.", response="What keeps you awake?"),
    Example(context="I cannot sleep.", response="What keeps you awake?", rating=Rating.UP),
    Example(context="I cannot sleep.", response="Try harder.", rating=Rating.DOWN),
]


class TestAddExamples:
    def test_stores_them_with_their_source(self, database: Database) -> None:
        with database.transaction() as session:
            assert add_examples(session, EXAMPLES, "sleep.csv", "abc") == 3
        with database.reading() as session:
            rows = session.scalars(select(models.Example)).all()
        assert {(row.context, row.response, row.rating) for row in rows} == {
            (example.context, example.response, example.rating) for example in EXAMPLES
        }
        assert {(row.source, row.source_digest) for row in rows} == {("sleep.csv", "abc")}

    def test_skips_those_already_there_or_named_twice(self, database: Database) -> None:
        with database.transaction() as session:
            assert add_examples(session, EXAMPLES[:1] * 2, "sleep.csv", "abc") == 1
            assert add_examples(session, EXAMPLES, "again.csv", "def") == 2
            assert count_examples(session) == 3

    def test_does_not_confuse_where_a_context_ends(self, database: Database) -> None:
        pairs = [Example(context="a", response="bc"), Example(context="ab", response="c")]
        with database.transaction() as session:
            assert add_examples(session, pairs, "pairs.csv", "abc") == 2

    def test_takes_none_and_very_many(self, database: Database) -> None:
        many = [Example(context=f"context {number}", response="a response") for number in range(5000)]
        with database.transaction() as session:
            assert add_examples(session, [], "empty.csv", "abc") == 0
            assert add_examples(session, many, "many.csv", "abc") == 5000

    def test_the_same_file_many_times_at_once_is_imported_once(self, database: Database) -> None:
        many = [Example(context=f"context {number}", response="a response") for number in range(200)]
        orders = iter([many, many[::-1]] * 4)
        added = run_at_once(database, 8, lambda session: add_examples(session, next(orders), "many.csv", "abc"))
        assert sum(added) == 200
