"""Conversations and completions belong to one client."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data.errors import Conflict, NotFound
from db.completions import (
    ensure_conversation,
    get_completion,
    get_conversation,
    list_completions,
    list_conversations,
)
from db.models import Conversation
from db.session import Database
from tests.rows import add_client, add_completion, run_at_once


class TestEnsureConversation:
    def test_begins_a_new_one_without_an_id(self, database: Database) -> None:
        with database.transaction() as session:
            key_id = add_client(session)
            first = ensure_conversation(session, key_id, None, "ann")
            second = ensure_conversation(session, key_id, None, "ann")
            assert first != second
            assert get_conversation(session, key_id, first).end_user == "ann"

    def test_goes_on_with_the_one_of_that_id(self, database: Database) -> None:
        with database.transaction() as session:
            key_id = add_client(session)
            ensure_conversation(session, key_id, "talk", "ann")
        with database.transaction() as session:
            for end_user in ("ann", None):
                assert ensure_conversation(session, key_id, "talk", end_user) == "talk"
            assert get_conversation(session, key_id, "talk").end_user == "ann"

    def test_refuses_another_end_user(self, database: Database) -> None:
        with database.transaction() as session:
            key_id = add_client(session)
            ensure_conversation(session, key_id, "talk", "ann")
            with pytest.raises(Conflict, match="another end user's"):
                ensure_conversation(session, key_id, "talk", "bob")

    def test_one_that_began_without_a_name_becomes_the_first_ones(self, database: Database) -> None:
        with database.transaction() as session:
            key_id = add_client(session)
            ensure_conversation(session, key_id, "talk", None)
        waiting = [f"user-{number}" for number in range(8)]

        def go_on(session: Session) -> str | None:
            name = waiting.pop()
            try:
                ensure_conversation(session, key_id, "talk", name)
            except Conflict:
                return None
            return name

        let_in = [name for name in run_at_once(database, 8, go_on) if name is not None]
        with database.reading() as session:
            assert let_in == [get_conversation(session, key_id, "talk").end_user]

    def test_keeps_the_conversations_of_two_clients_apart(self, database: Database) -> None:
        with database.transaction() as session:
            ensure_conversation(session, add_client(session), "1", "ann")
            other = add_client(session)
            ensure_conversation(session, other, "1", "bob")
            assert get_conversation(session, other, "1").end_user == "bob"

    def test_many_at_once_begin_one(self, database: Database) -> None:
        with database.transaction() as session:
            key_id = add_client(session)
        run_at_once(database, 8, lambda session: ensure_conversation(session, key_id, "talk", "ann"))
        with database.reading() as session:
            assert session.scalar(select(func.count()).select_from(Conversation)) == 1


class TestCreateCompletion:
    def test_keeps_what_was_said(self, database: Database) -> None:
        with database.transaction() as session:
            key_id = add_client(session)
            completion_id = add_completion(session, key_id, reply="Grüße 🌱").id
        with database.reading() as session:
            completion = get_completion(session, completion_id, key_id)
        assert completion_id.startswith("chatcmpl-")
        assert completion.reply == "Grüße 🌱"
        assert completion.messages == [{"role": "user", "content": "I feel alone."}]
        assert completion.sampling == {"temperature": 0.7}
        assert completion.is_crisis is False


class TestGetCompletion:
    def test_hides_what_was_served_to_another(self, database: Database) -> None:
        with database.transaction() as session:
            completion = add_completion(session, add_client(session))
            with pytest.raises(NotFound):
                get_completion(session, completion.id, add_client(session))


class TestGetConversation:
    def test_does_not_find_another_clients(self, database: Database) -> None:
        with database.transaction() as session:
            key_id, other_id = add_client(session), add_client(session)
            ensure_conversation(session, key_id, "talk", "ann")
            assert get_conversation(session, key_id, "talk").end_user == "ann"
            with pytest.raises(NotFound):
                get_conversation(session, other_id, "talk")


class TestListCompletions:
    def test_goes_on_page_by_page_from_the_oldest(self, database: Database) -> None:
        with database.transaction() as session:
            key_id = add_client(session)
            ids = [add_completion(session, key_id, "talk").id for _ in range(5)]
            elsewhere = add_completion(session, key_id, "another").id
        with database.reading() as session:
            talk = get_conversation(session, key_id, "talk")
            first = list_completions(session, talk, limit=3)
            second = list_completions(session, talk, limit=3, after=first[-1].id)
            with pytest.raises(NotFound):
                list_completions(session, talk, limit=3, after="chatcmpl-none")
        found = [row.id for row in [*first, *second]]
        assert sorted(found) == sorted(ids)
        assert elsewhere not in found
        times_s = [row.created_at_s for row in [*first, *second]]
        assert times_s == sorted(times_s)


class TestListConversations:
    def test_of_one_end_user_newest_first_with_what_they_began_with(self, database: Database) -> None:
        with database.transaction() as session:
            key_id = add_client(session)
            for name, at_s in (("first", 1.0), ("second", 2.0), ("empty", 3.0)):
                ensure_conversation(session, key_id, name, "ann")
                session.get_one(Conversation, (key_id, name)).created_at_s = at_s
            for name in ("first", "second", "first"):
                add_completion(session, key_id, name)
            add_completion(session, key_id, "ben's", end_user="ben")
            add_completion(session, add_client(session), "another client's")
        with database.reading() as session:
            found = list_conversations(session, key_id, "ann", 10)
            assert [(item.id, item.created_at_s) for item in found] == [("second", 2.0), ("first", 1.0)]
            assert {item.opening for item in found} == {"I feel alone."}
            assert len(list_conversations(session, key_id, "ann", 1)) <= 1
            assert list_conversations(session, key_id, "nobody", 10) == []
