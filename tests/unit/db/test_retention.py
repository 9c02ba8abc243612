"""What may go, on both databases."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from data.vocabulary import Rating
from db.feedback import FeedbackValues, put_feedback
from db.models import Completion, Conversation, Version
from db.promotions import promote, rollback
from db.retention import delete_unrated_completions, list_runs_beyond, list_version_folders_beyond
from db.runs import create_run
from db.session import Database
from db.versions import ensure_base_version
from tests.rows import add_client, add_completion, add_finished_run, add_trained_version

DAY_S = 86_400.0


def make_old(session: Session, *ids: str) -> None:
    session.execute(update(Completion).where(Completion.id.in_(ids)).values(created_at_s=1.0))


def list_ids(session: Session) -> set[str]:
    return set(session.scalars(select(Completion.id)))


class TestDeleteUnratedCompletions:
    def test_takes_old_ones_without_feedback_and_the_conversation_that_is_empty_then(self, database: Database) -> None:
        with database.transaction() as session:
            key_id = add_client(session)
            old, rated = (add_completion(session, key_id, name).id for name in ("empties", "stays"))
            new = add_completion(session, key_id, "stays").id
            put_feedback(session, rated, "ann", FeedbackValues(rater_kind="end_user", rating=Rating.DOWN))
            make_old(session, old, rated)
        with database.transaction() as session:
            assert delete_unrated_completions(session, DAY_S, 10) == 1
        with database.transaction() as session:
            assert delete_unrated_completions(session, DAY_S, 10) == 0
            assert list_ids(session) == {rated, new}
            assert list(session.scalars(select(Conversation.id))) == ["stays"]

    def test_takes_a_batch_at_a_time_the_oldest_first(self, database: Database) -> None:
        with database.transaction() as session:
            key_id = add_client(session)
            ids = [add_completion(session, key_id, "talk").id for _ in range(5)]
            for age, completion_id in enumerate(ids):
                session.execute(update(Completion).where(Completion.id == completion_id).values(created_at_s=age))
        with database.transaction() as session:
            assert delete_unrated_completions(session, DAY_S, 3) == 3
            assert list_ids(session) == set(ids[3:])

    def test_leaves_what_a_snapshot_names_for_lineage(self, database: Database) -> None:
        with database.transaction() as session:
            completion_id = add_completion(session, add_client(session)).id
            put_feedback(session, completion_id, "ann", FeedbackValues(rater_kind="end_user", rating=Rating.UP))
            add_trained_version(session)
            session.execute(update(Completion).values(created_at_s=1.0))
        with database.transaction() as session:
            assert delete_unrated_completions(session, DAY_S, 10) == 0


class TestListVersionFoldersBeyond:
    def test_spares_the_newest_the_base_and_whatever_stands_in_the_history(self, database: Database) -> None:
        with database.transaction() as session:
            ensure_base_version(session, "d0", "base", "tiny")
            versions = [add_trained_version(session) for _ in range(5)]
            for number in (1, 2, 4):
                promote(session, number, "manual", "Better.", "ann")
            rollback(session, "ann", "Worse.")  # 4 leaves the history
            assert list_version_folders_beyond(session, 1) == sorted(versions[index].folder for index in (2, 3))
            assert list_version_folders_beyond(session, 2) == [versions[2].folder]

    def test_spares_a_folder_that_a_kept_version_shares(self, database: Database) -> None:
        with database.transaction() as session:
            ensure_base_version(session, "d0", "base", "tiny")
            add_trained_version(session)
            newest = add_trained_version(session)
            session.execute(update(Version).where(Version.number == 1).values(folder=newest.folder))
            assert list_version_folders_beyond(session, 1) == []

    def test_waits_for_an_active_run(self, database: Database) -> None:
        with database.transaction() as session:
            ensure_base_version(session, "d0", "base", "tiny")
            first = add_trained_version(session)
            add_trained_version(session)
            assert list_version_folders_beyond(session, 1) == [first.folder]
            create_run(session, {}, "admin")
            assert list_version_folders_beyond(session, 1) == []


class TestListRunsBeyond:
    def test_leaves_active_and_newest_runs_and_that_of_production(self, database: Database) -> None:
        with database.transaction() as session:
            ensure_base_version(session, "d0", "base", "tiny")
            version = add_trained_version(session)
            promote(session, version.number, "manual", "Better.", "ann")
        ids = []
        for _ in range(3):
            with database.transaction() as session:
                ids.append(add_finished_run(session))
        with database.transaction() as session:
            create_run(session, {}, "admin")
            assert set(list_runs_beyond(session, 1)) == set(ids[:2])
