"""Lineage, both ways."""

from __future__ import annotations

import pytest

from data.errors import NotFound
from data.vocabulary import Example, Rating, RowKind, Split
from db.examples import add_examples
from db.feedback import FeedbackValues, put_feedback
from db.lineage import get_served_completion, list_origins, list_rows, list_versions_of_feedback
from db.session import Database
from db.versions import ensure_base_version
from tests.rows import add_client, add_completion, add_trained_version

CORRECTED = FeedbackValues(rater_kind="end_user", rating=Rating.DOWN, correction="I hear you.")


@pytest.fixture
def feedback_id(database: Database) -> int:
    """Feedback with a correction that shaped the versions 1 and 2, beside an example."""
    with database.transaction() as session:
        ensure_base_version(session, "d0", "f0", "tiny")
        add_examples(session, [Example(context="a", response="b")], "a.csv", "abc")
        completion = add_completion(session, add_client(session))
        feedback, _ = put_feedback(session, completion.id, "ann", CORRECTED)
        add_trained_version(session)
        add_trained_version(session)
        return feedback.id


class TestGetServedCompletion:
    def test_finds_it_whoever_was_served(self, database: Database) -> None:
        with database.transaction() as session:
            completion = add_completion(session, add_client(session))
            assert get_served_completion(session, completion.id) is completion

    def test_finds_no_other(self, database: Database) -> None:
        with pytest.raises(NotFound), database.reading() as session:
            get_served_completion(session, "chatcmpl-none")


class TestListVersionsOfFeedback:
    def test_names_each_version_once(self, database: Database, feedback_id: int) -> None:
        with database.reading() as session:
            assert list_versions_of_feedback(session, feedback_id) == [1, 2]

    def test_names_none_for_feedback_that_no_run_drew_on(self, database: Database, feedback_id: int) -> None:
        with database.transaction() as session:
            completion = add_completion(session, add_client(session))
            newer, _ = put_feedback(session, completion.id, "bob", CORRECTED)
            assert list_versions_of_feedback(session, newer.id) == []

    def test_finds_no_other(self, database: Database) -> None:
        with pytest.raises(NotFound, match="erased"), database.reading() as session:
            list_versions_of_feedback(session, 7)


class TestListOrigins:
    def test_tells_run_snapshot_and_rows(self, database: Database, feedback_id: int) -> None:
        with database.reading() as session:
            base, second = list_origins(session, [2, 0])
        assert (base.version.number, base.run, base.snapshot, base.counts) == (0, None, None, {})
        assert second.version.number == 2
        assert second.run is not None and second.run.id == second.version.run_id
        assert second.snapshot is not None and second.snapshot.digest == f"rows of {second.run.id}"
        assert second.counts == {Split.TRAIN: {RowKind.EXAMPLE: 1, RowKind.REPLY: 1, RowKind.CORRECTION: 1}}


class TestListRows:
    def test_pages_through_the_rows_of_a_version(self, database: Database, feedback_id: int) -> None:
        with database.reading() as session:
            first = list_rows(session, 2, version_number=2)
            number, last = first[-1]
            second = list_rows(session, 2, after=(number, last.row_id), version_number=2)
        assert [(number, row.row_id) for number, row in first + second] == [
            (2, f"correction:{feedback_id}"),
            (2, "example:1"),
            (2, f"feedback:{feedback_id}"),
        ]

    def test_finds_feedback_in_each_snapshot(self, database: Database, feedback_id: int) -> None:
        with database.reading() as session:
            rows = [(number, row.kind) for number, row in list_rows(session, 9, feedback_id=feedback_id)]
        assert rows == [(number, kind) for number in (1, 2) for kind in (RowKind.CORRECTION, RowKind.REPLY)]
