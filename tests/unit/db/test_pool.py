"""The pool: every example and every rater's view of every reply."""

from __future__ import annotations

from sqlalchemy.orm import Session

from api.completions import DISCONNECT
from data.splitting import context_cluster
from data.vocabulary import Example, PoolRow, Rating, RowKind
from db.examples import add_examples
from db.feedback import FeedbackValues, put_feedback
from db.models import Completion
from db.pool import list_pool_rows
from db.session import Database
from db.versions import ensure_base_version
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
        assert [row.original for row in rows] == [None, "Cheer up.", None]
        for row in rows:
            assert row.cluster == "conversation:talk"
            assert row.messages == ({"role": "user", "content": "I feel alone."},)

    def test_a_reply_that_was_cut_is_learned_up_to_its_last_whole_sentence(self, database: Database) -> None:
        said = "That is hard. You could wri"
        corrected = FeedbackValues(rater_kind="end_user", rating=Rating.UP, correction="I hear you, and")
        with database.transaction() as session:
            ensure_base_version(session, "digest", "folder", "tiny")
            key = add_client(session)
            for finish_reason in ("length", DISCONNECT, "stop"):
                put_feedback(session, add_served(session, key, said, finish_reason=finish_reason), "ann", corrected)
            add_served(session, key, said, finish_reason="length")
            rows = list_pool_rows(session, unrated=1)
        assert [row.reply for row in rows if row.kind is RowKind.REPLY] == [said[:13], said[:13], said, said[:13]]
        corrections = [(row.reply, row.original) for row in rows if row.kind is RowKind.CORRECTION]
        assert corrections == [("I hear you, and", original) for original in (said[:13], said[:13], said)]

    def test_has_no_text_that_no_model_wrote(self, database: Database) -> None:
        corrected = FeedbackValues(rater_kind="reviewer", rating=Rating.DOWN, correction="I hear you.")
        with database.transaction() as session:
            ensure_base_version(session, "digest", "folder", "tiny")
            key = add_client(session)
            stopped = add_served(session, key, "You could [I stopped here.]", finish_reason="content_filter")
            resources = add_served(session, key, "Call 988.", is_crisis=True)
            for completion_id in (stopped, resources):
                put_feedback(session, completion_id, "ann", corrected)
            (row,) = list_pool_rows(session)
        assert (row.kind, row.reply, row.original) == (RowKind.CORRECTION, "I hear you.", None)

    def test_leaves_out_what_nobody_rated(self, database: Database) -> None:
        with database.transaction() as session:
            add_completion(session, add_client(session))
            assert list_pool_rows(session) == []

    def test_adds_the_newest_unrated_replies_when_asked(self, database: Database) -> None:
        with database.transaction() as session:
            ensure_base_version(session, "digest", "folder", "tiny")
            key = add_client(session)
            rated = add_served(session, key, "rated")
            put_feedback(session, rated, "ann", FeedbackValues(rater_kind="end_user", rating=Rating.UP))
            first, second, third = (add_served(session, key, reply) for reply in ("one", "two", "three"))
            add_completion(session, key, "talk", reply="Call 988.")  # no model wrote it
            add_served(session, key, "broken off", finish_reason=DISCONNECT)
            add_served(session, key, "beside resources", is_crisis=True)
            rows = list_pool_rows(session, unrated=10)
            assert [row.row_id for row in rows] == [
                "feedback:1",
                *(f"completion:{completion_id}" for completion_id in (first, second, third)),
            ]
            assert [row.is_unrated for row in rows] == [False, True, True, True]
            assert rows[1] == PoolRow(
                row_id=f"completion:{first}",
                kind=RowKind.REPLY,
                cluster="conversation:talk",
                messages=({"role": "user", "content": "I feel alone."},),
                reply="one",
                created_at_s=rows[1].created_at_s,
            )
            assert [row.reply for row in list_pool_rows(session, unrated=2)] == ["rated", "two", "three"]


def add_served(session: Session, key: str, reply: str, **fields: object) -> str:
    """A reply of the base model in one conversation, each a second after the one before; its id."""
    completion = add_completion(session, key, "talk", reply=reply, version_number=0)
    completion.created_at_s = 1000.0 + session.query(Completion).count()
    for name, value in fields.items():
        setattr(completion, name, value)
    session.flush()
    return completion.id
