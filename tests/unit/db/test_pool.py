"""The pool: every example and every rater's view of every reply."""

from __future__ import annotations

from data.splitting import context_cluster
from data.vocabulary import Example, PoolRow, Rating, RowKind
from db.examples import add_examples
from db.feedback import FeedbackValues, put_feedback
from db.pool import list_pool_rows
from db.session import Database
from tests.rows import add_client, add_completion


class TestListPoolRows:
    def test_is_empty_without_rows(self, database: Database) -> None:
        with database.reading() as session:
            assert list_pool_rows(session) == []

    def test_clusters_an_example_by_its_context(self, database: Database) -> None:
        example = Example(context="I cannot sleep.", response="Since when?", rating=Rating.UP)
        with database.transaction() as session:
            add_examples(session, [example], "sleep.csv", "abc")
            (row,) = list_pool_rows(session)
        assert row == PoolRow(
            row_id="example:1",
            kind=RowKind.EXAMPLE,
            cluster=context_cluster("I cannot sleep."),
            messages=({"role": "user", "content": "I cannot sleep."},),
            reply="Since when?",
            rating=Rating.UP,
            created_at_s=row.created_at_s,
        )
        assert row.created_at_s > 0

    def test_has_a_row_for_each_rater_experts_first_and_another_for_a_correction(self, database: Database) -> None:
        up = FeedbackValues(rater_kind="end_user", rating=Rating.UP)
        corrected = FeedbackValues(rater_kind="reviewer", rating=Rating.DOWN, correction="I hear you.")
        with database.transaction() as session:
            completion = add_completion(session, add_client(session), "talk", reply="Cheer up.")
            put_feedback(session, completion.id, "ann", up)
            put_feedback(session, completion.id, "bob", corrected)
            rows = list_pool_rows(session)
        assert [(row.row_id, row.kind, row.rater, row.rating, row.reply, row.is_expert) for row in rows] == [
            ("feedback:2", RowKind.REPLY, "bob", Rating.DOWN, "Cheer up.", True),
            ("correction:2", RowKind.CORRECTION, "bob", None, "I hear you.", True),
            ("feedback:1", RowKind.REPLY, "ann", Rating.UP, "Cheer up.", False),
        ]
        for row in rows:
            assert row.cluster == "conversation:talk"
            assert row.messages == ({"role": "user", "content": "I feel alone."},)

    def test_leaves_out_what_nobody_rated(self, database: Database) -> None:
        with database.transaction() as session:
            add_completion(session, add_client(session))
            assert list_pool_rows(session) == []
