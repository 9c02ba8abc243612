"""Snapshots: which rows a run was trained on."""

from __future__ import annotations

from sqlalchemy import select

from data import vocabulary
from data.vocabulary import Example, PoolRow, Rating, RowKind, Split
from db.examples import add_examples
from db.feedback import FeedbackValues, put_feedback
from db.models import SnapshotRow
from db.pool import list_pool_rows
from db.runs import create_run, get_run
from db.session import Database
from db.snapshots import find_snapshot, save_snapshot_rows
from tests.rows import add_client, add_completion


def build_rows(rows: list[PoolRow], split: Split = Split.TRAIN) -> list[vocabulary.SnapshotRow]:
    """All of the pool, in one split."""
    return [vocabulary.SnapshotRow(row=row, split=split) for row in rows]


class TestSaveSnapshotRows:
    def test_keeps_where_each_row_came_from(self, database: Database) -> None:
        corrected = FeedbackValues(rater_kind="reviewer", rating=Rating.DOWN, correction="I hear you.")
        with database.transaction() as session:
            run = create_run(session, {}, "admin")
            add_examples(session, [Example(context="a", response="b")], "a.csv", "abc")
            completion = add_completion(session, add_client(session))
            put_feedback(session, completion.id, "bob", corrected)
            rows = build_rows(list_pool_rows(session), Split.DEV)
            saved = save_snapshot_rows(session, run.id, {"digest": "d1"}, rows)
        with database.reading() as session:
            assert get_run(session, run.id).snapshot_id == saved.id
            stored = session.scalars(select(SnapshotRow).order_by(SnapshotRow.row_id)).all()
        assert [(row.row_id, row.kind, row.example_id, row.feedback_id, row.completion_id) for row in stored] == [
            ("correction:1", RowKind.CORRECTION, None, 1, completion.id),
            ("example:1", RowKind.EXAMPLE, 1, None, None),
            ("feedback:1", RowKind.REPLY, None, 1, completion.id),
        ]
        assert {row.split for row in stored} == {Split.DEV}

    def test_names_the_completion_of_an_unrated_reply(self, database: Database) -> None:
        with database.transaction() as session:
            run = create_run(session, {}, "admin")
            completion = add_completion(session, add_client(session))
            row = PoolRow(
                row_id=f"completion:{completion.id}",
                kind=RowKind.REPLY,
                cluster="c",
                messages=tuple(completion.messages),
                reply=completion.reply,
            )
            save_snapshot_rows(session, run.id, {"digest": "d1"}, build_rows([row]))
            (stored,) = session.scalars(select(SnapshotRow)).all()
        assert (stored.example_id, stored.feedback_id, stored.completion_id) == (None, None, completion.id)

    def test_the_same_again_changes_nothing(self, database: Database) -> None:
        with database.transaction() as session:
            run = create_run(session, {}, "admin")
            add_examples(session, [Example(context="a", response="b")], "a.csv", "abc")
            rows = build_rows(list_pool_rows(session))
            first = save_snapshot_rows(session, run.id, {"digest": "d1"}, rows)
            again = save_snapshot_rows(session, run.id, {"digest": "d1"}, rows)
            assert again.id == first.id
            assert len(session.scalars(select(SnapshotRow)).all()) == 1

    def test_another_draw_takes_the_place_of_the_first(self, database: Database) -> None:
        with database.transaction() as session:
            run = create_run(session, {}, "admin")
            add_examples(session, [Example(context="a", response="b")], "a.csv", "abc")
            rows = build_rows(list_pool_rows(session))
            first = save_snapshot_rows(session, run.id, {"digest": "d1"}, rows)
            again = save_snapshot_rows(session, run.id, {"digest": "d2"}, [])
            assert (again.id, again.digest) == (first.id, "d2")
            assert session.scalars(select(SnapshotRow)).all() == []


class TestFindSnapshot:
    def test_finds_none_before_it_is_saved(self, database: Database) -> None:
        with database.transaction() as session:
            run = create_run(session, {}, "admin")
            assert find_snapshot(session, run.id) is None
            save_snapshot_rows(session, run.id, {"digest": "d1", "pool_rows": 0}, [])
        with database.reading() as session:
            snapshot = find_snapshot(session, run.id)
        assert snapshot is not None
        assert snapshot.manifest == {"digest": "d1", "pool_rows": 0}
