"""Promotions and rollbacks over HTTP, up to what then answers."""

from __future__ import annotations

import pytest

from tests.unit.api.live import Artifacts, Live, add_first_version

URL = "/v1/admin/versions/1/promote"


@pytest.fixture
def with_version(live: Live, artifacts: Artifacts) -> Live:
    """With version 1 registered and not promoted."""
    add_first_version(live.services.database, artifacts)
    return live


class TestPromoteVersion:
    def test_moves_production_and_the_version_answers(self, with_version: Live) -> None:
        live = with_version
        response = live.http.post(URL, json={"reason": "Better."}, headers=live.callers.admin)
        promotion = response.json()
        assert response.status_code == 200
        assert (promotion["version_number"], promotion["previous_version"]) == (1, 0)
        assert (promotion["kind"], promotion["reason"]) == ("manual", "Better.")
        assert promotion["actor"].startswith("key-")
        live.services.watch.look()
        assert live.chat(model="ratchet-v1")["model"] == "ratchet-v1"

    @pytest.mark.parametrize("body", [{}, {"reason": " "}, {"reason": "\x00"}])
    def test_wants_a_reason(self, with_version: Live, body: dict[str, str]) -> None:
        assert with_version.http.post(URL, json=body, headers=with_version.callers.admin).status_code == 422

    def test_refuses_what_is_in_production(self, live: Live) -> None:
        url = "/v1/admin/versions/0/promote"
        response = live.http.post(url, json={"reason": "Again."}, headers=live.callers.admin)
        assert response.status_code == 409

    def test_finds_no_other(self, live: Live) -> None:
        assert live.http.post(URL, json={"reason": "?"}, headers=live.callers.admin).status_code == 404


class TestRollBack:
    def test_takes_the_old_replies_back(self, with_version: Live) -> None:
        live = with_version
        before = live.chat()["choices"]
        live.http.post(URL, json={"reason": "Better."}, headers=live.callers.admin)
        live.services.watch.look()
        assert live.chat()["choices"] != before
        response = live.http.post("/v1/admin/rollback", headers=live.callers.admin)
        assert (response.status_code, response.json()["kind"]) == (200, "rollback")
        live.services.watch.look()
        assert live.chat()["choices"] == before

    def test_keeps_the_reason(self, with_version: Live) -> None:
        live = with_version
        live.http.post(URL, json={"reason": "Better."}, headers=live.callers.admin)
        live.http.post("/v1/admin/rollback", json={"reason": "Too long."}, headers=live.callers.admin)
        promotions = live.http.get("/v1/admin/promotions", headers=live.callers.admin).json()["data"]
        assert [item["reason"] for item in promotions] == ["Too long.", "Better.", "The base model."]

    def test_refuses_when_there_is_none_before(self, live: Live) -> None:
        assert live.http.post("/v1/admin/rollback", headers=live.callers.admin).status_code == 409
