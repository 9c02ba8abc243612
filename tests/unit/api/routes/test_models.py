"""The list of models."""

from __future__ import annotations

from tests.unit.api.live import Artifacts, Live, add_first_version


class TestListModels:
    def test_lists_the_alias_and_the_versions(self, live: Live, artifacts: Artifacts) -> None:
        add_first_version(live.services.database, artifacts)
        body = live.http.get("/v1/models", headers=live.callers.client).json()
        assert body["object"] == "list"
        assert [model["id"] for model in body["data"]] == ["production", "ratchet-v1", "ratchet-v0"]
        assert all(model["created"] > 0 and model["object"] == "model" for model in body["data"])
