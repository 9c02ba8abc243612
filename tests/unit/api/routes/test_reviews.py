"""Reviews over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.live import Live

BAD = {
    "verdict": "bad",
    "scores": {"empathy": 1},
    "rewrite": "That sounds exhausting.",
    "comment": "Too short.",
}


def post(live: Live, completion_id: str, body: dict[str, Any], *, as_admin: bool = False) -> Any:
    headers = live.callers.admin if as_admin else live.callers.reviewer
    return live.http.post(f"/v1/reviews/{completion_id}", json=body, headers=headers)


class TestReadNextReview:
    def test_shows_the_conversation_and_why(self, live: Live) -> None:
        completion = live.chat()
        item = live.http.get("/v1/reviews/next", headers=live.callers.reviewer).json()
        assert (item["completion_id"], item["picked_because"]) == (completion["id"], "random")
        assert item["messages"] == [{"role": "user", "content": "I cannot sleep."}]
        assert item["reply"] == completion["choices"][0]["message"]["content"]
        assert (item["version_number"], item["is_crisis"]) == (0, False)

    def test_shows_what_a_client_rated_down_first(self, live: Live) -> None:
        rated = [live.chat()["id"] for _ in range(3)][1]
        live.http.post("/v1/feedback", json={"completion_id": rated, "rating": "down"}, headers=live.callers.client)
        item = live.http.get("/v1/reviews/next", headers=live.callers.reviewer).json()
        assert (item["completion_id"], item["picked_because"]) == (rated, "flagged")

    def test_passes_over_what_the_reviewer_skips(self, live: Live) -> None:
        ids = [live.chat()["id"] for _ in range(2)]
        params = {"skip": [min(ids), "chatcmpl-unknown"]}
        item = live.http.get("/v1/reviews/next", params=params, headers=live.callers.reviewer).json()
        assert item["completion_id"] == max(ids)
        too_many = live.http.get("/v1/reviews/next", params={"skip": ["x"] * 101}, headers=live.callers.reviewer)
        assert too_many.status_code == 422

    def test_is_empty_when_nothing_is_left(self, live: Live) -> None:
        post(live, live.chat()["id"], BAD)
        response = live.http.get("/v1/reviews/next", headers=live.callers.reviewer)
        assert (response.status_code, response.content) == (204, b"")


class TestCreateReview:
    def test_stores_one_and_replaces_it(self, live: Live) -> None:
        completion_id = live.chat()["id"]
        first = post(live, completion_id, BAD)
        assert first.status_code == 201
        assert first.json().items() >= (BAD | {"completion_id": completion_id}).items()
        assert first.json()["reviewer"].startswith("key-")
        second = post(live, completion_id, {"verdict": "good"})
        assert (second.status_code, second.json()["id"]) == (200, first.json()["id"])
        assert (second.json()["verdict"], second.json()["rewrite"]) == ("good", None)

    @pytest.mark.parametrize(
        "wrong", [{"verdict": "fine"}, {"scores": {"empathy": 6}}, {"rewrite": 1}, {"comment": "\x00"}]
    )
    def test_refuses_what_no_review_can_be(self, live: Live, wrong: dict[str, Any]) -> None:
        assert post(live, live.chat()["id"], BAD | wrong).status_code == 422

    def test_takes_a_blank_rewrite_for_none(self, live: Live) -> None:
        assert post(live, live.chat()["id"], BAD | {"rewrite": " \n"}).json()["rewrite"] is None

    def test_finds_no_other(self, live: Live) -> None:
        assert post(live, "chatcmpl-1", BAD).status_code == 404


class TestReadAgreement:
    def test_is_undefined_without_shared_replies(self, live: Live) -> None:
        post(live, live.chat()["id"], BAD)
        agreement = live.http.get("/v1/reviews/agreement", headers=live.callers.reviewer).json()
        assert agreement == {"alpha": None, "completions": 0, "reviews": 0}

    def test_measures_how_far_verdicts_agree(self, live: Live) -> None:
        for verdict in ("good", "bad"):
            completion_id = live.chat()["id"]
            for as_admin in (False, True):
                post(live, completion_id, {"verdict": verdict}, as_admin=as_admin)
        agreement = live.http.get("/v1/reviews/agreement", headers=live.callers.reviewer).json()
        assert agreement == {"alpha": 1.0, "completions": 2, "reviews": 4}
