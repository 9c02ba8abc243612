"""Erasures over HTTP, down to the bytes on disk."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from db.promotions import promote
from tests.rows import add_trained_version
from tests.unit.api.live import Live
from worker.erasure import continue_erasures

CANARY = "canary-4711"
USER = f"{CANARY}/@example.org"  # a name may hold a slash


def delete(live: Live, user: str, **headers: Any) -> httpx.Response:
    return live.http.delete(f"/v1/admin/end-users/{quote(user, safe='')}", **{"headers": live.callers.admin, **headers})


def talk(live: Live, user: str = USER, text: str = CANARY) -> str:
    """A conversation of the user, who corrects the reply; the reply's id."""
    messages = [{"role": "user", "content": f"I am {text}."}]
    completion_id = live.chat(user=user, messages=messages, metadata={"conversation_id": text})["id"]
    feedback = {"completion_id": completion_id, "rating": "down", "comment": text, "correction": text}
    response = live.http.post("/v1/feedback", json=feedback, headers=live.callers.client)
    assert response.status_code == 201
    return str(completion_id)


def holds_canary(folder: Path) -> bool:
    return any(CANARY.encode() in path.read_bytes() for path in folder.rglob("*") if path.is_file())


class TestErase:
    def test_leaves_no_byte_of_the_user(self, live: Live, caplog: pytest.LogCaptureFixture) -> None:
        talk(live)
        kept = talk(live, "bob", "parrot")
        assert holds_canary(live.services.settings.var)
        with caplog.at_level(logging.DEBUG, "ratchet.api"):
            response = delete(live, USER)
        receipt = response.json()
        assert response.status_code == 202
        assert receipt["counts"] == {"conversations": 1, "completions": 1, "feedback": 1, "snapshot_rows": 0}
        assert (receipt["marked_versions"], receipt["retrain_run_id"]) == ([], None)
        continue_erasures(live.services.database, live.services.settings)
        assert not holds_canary(live.services.settings.var)
        assert CANARY not in response.text
        assert CANARY not in caplog.text
        assert live.http.get(f"/v1/feedback/{kept}", headers=live.callers.client).json()["comment"] == "parrot"

    def test_reaches_what_was_said_before_the_conversation_had_a_name(self, live: Live) -> None:
        metadata = {"conversation_id": "late"}
        for named in ({}, {"user": "ann"}):
            live.chat(metadata=metadata, **named)
        assert delete(live, "ann").json()["counts"]["completions"] == 2
        assert live.http.get("/v1/conversations/late", headers=live.callers.client).status_code == 404

    def test_a_line_break_at_the_end_is_part_of_the_name(self, live: Live) -> None:
        kept = talk(live, "ann", "parrot")
        gone = talk(live, "ann\n")
        assert delete(live, "ann\n").json()["counts"]["conversations"] == 1
        feedback = [live.http.get(f"/v1/feedback/{name}", headers=live.callers.client) for name in (kept, gone)]
        assert [answer.status_code for answer in feedback] == [200, 404]

    def test_the_replies_of_the_user_are_gone(self, live: Live) -> None:
        completion_id = talk(live)
        delete(live, USER)
        assert live.http.get(f"/v1/feedback/{completion_id}", headers=live.callers.client).status_code == 404
        assert live.http.get(f"/v1/admin/lineage/{completion_id}", headers=live.callers.admin).status_code == 404

    def test_the_second_receipt_is_empty(self, live: Live) -> None:
        talk(live)
        first, second = delete(live, USER).json(), delete(live, USER).json()
        assert first["id"] != second["id"]
        assert not any(second["counts"].values())

    def test_knows_no_other_user_and_does_not_repeat_the_name(self, live: Live) -> None:
        response = delete(live, USER)
        assert response.status_code == 404
        assert CANARY not in response.text

    @pytest.mark.parametrize("user", ["", "x" * 129, "\x00"])
    def test_refuses_what_is_no_name(self, live: Live, user: str) -> None:
        assert delete(live, user).status_code == 422

    def test_is_for_admins(self, live: Live) -> None:
        assert delete(live, USER, headers=live.callers.client).status_code == 403


class TestReadErasure:
    def test_tells_what_is_still_in_service(self, live: Live) -> None:
        talk(live)
        with live.services.database.transaction() as session:
            number = add_trained_version(session).number
            promote(session, number, "manual", "Better.", "an admin")
        receipt = delete(live, USER).json()
        assert (receipt["marked_versions"], receipt["in_service"]) == ([number], [number])
        assert (receipt["retrain_status"], receipt["retrain_pending"]) == ("queued", False)
        live.http.post("/v1/admin/rollback", headers=live.callers.admin)
        continue_erasures(live.services.database, live.services.settings)
        later = live.http.get(f"/v1/admin/erasures/{receipt['id']}", headers=live.callers.admin).json()
        assert (later["marked_versions"], later["in_service"]) == ([number], [])
        assert later["finished_at_s"] >= later["created_at_s"]
        version = live.http.get(f"/v1/admin/lineage/{number}", headers=live.callers.admin).json()["versions"][0]
        assert version["erasure_ids"] == [receipt["id"]]

    def test_finds_no_other(self, live: Live) -> None:
        assert live.http.get("/v1/admin/erasures/erasure-1", headers=live.callers.admin).status_code == 404
