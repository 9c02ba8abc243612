"""Conversations over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.live import Live

URL = "/v1/conversations"


def read(live: Live, name: str, **params: Any) -> dict[str, Any]:
    response = live.http.get(f"{URL}/{name}", params=params, headers=live.callers.client)
    assert response.status_code == 200, response.text
    return dict(response.json())


class TestReadConversation:
    @pytest.mark.parametrize("name", ["chat-42", "a/b c", "ü"])
    def test_shows_its_replies_with_their_feedback(self, live: Live, name: str) -> None:
        answers = [live.chat(user="ann", metadata={"conversation_id": name}) for _ in range(2)]
        live.chat(metadata={"conversation_id": "another"})
        rating = {"completion_id": answers[1]["id"], "rating": "down"}
        rated = live.http.post("/v1/feedback", json=rating, headers=live.callers.client).json()
        body = read(live, name)
        assert (body["id"], body["end_user"], body["next_cursor"]) == (name, "ann", None)
        assert [item["id"] for item in body["completions"]] == [answer["id"] for answer in answers]
        assert [item["feedback"] for item in body["completions"]] == [[], [rated]]
        assert body["completions"][0]["reply"] == answers[0]["choices"][0]["message"]["content"]
        assert body["completions"][0]["messages"] == [{"role": "user", "content": "I cannot sleep."}]

    def test_shows_what_experts_said_to_admins_only(self, live: Live) -> None:
        shown = []
        for caller in (live.callers.client, live.callers.admin):
            completion_id = live.chat(caller, user="ann", metadata={"conversation_id": "chat"})["id"]
            rating = {"completion_id": completion_id, "rating": "up"}
            assert live.http.post("/v1/feedback", json=rating, headers=caller).is_success
            review = {"verdict": "harmful", "comment": "It blames her.", "rewrite": "That was not your fault."}
            assert live.http.post(f"/v1/reviews/{completion_id}", json=review, headers=live.callers.reviewer).is_success
            [completion] = live.http.get(f"{URL}/chat", headers=caller).json()["completions"]
            shown.append([item["rater_kind"] for item in completion["feedback"]])
        assert shown == [["end_user"], ["end_user", "reviewer"]]

    def test_comes_in_pages(self, live: Live) -> None:
        ids = [live.chat(metadata={"conversation_id": "chat"})["id"] for _ in range(3)]
        first = read(live, "chat", limit=2)
        second = read(live, "chat", limit=2, cursor=first["next_cursor"])
        assert [item["id"] for page in (first, second) for item in page["completions"]] == ids
        assert second["next_cursor"] is None

    def test_is_there_for_its_client_only(self, live: Live) -> None:
        live.chat(metadata={"conversation_id": "chat"})
        assert live.http.get(f"{URL}/chat", headers=live.callers.other_client).status_code == 404
