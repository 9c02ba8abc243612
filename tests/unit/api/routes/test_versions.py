"""Versions over HTTP."""

from __future__ import annotations

import pytest

from tests.unit.api.live import Artifacts, Live, add_first_version

URL = "/v1/admin/versions"


class TestListAllVersions:
    def test_lists_them_and_marks_production(self, live: Live, artifacts: Artifacts) -> None:
        add_first_version(live.services.database, artifacts)
        versions = live.http.get(URL, headers=live.callers.admin).json()["data"]
        assert [(item["number"], item["is_production"]) for item in versions] == [(1, False), (0, True)]
        assert versions[0]["digest"] == artifacts.digests[1]


class TestReadVersion:
    def test_shows_the_report(self, live: Live, artifacts: Artifacts) -> None:
        add_first_version(live.services.database, artifacts)
        version = live.http.get(f"{URL}/1", headers=live.callers.admin).json()
        assert version["report"] == {"rows": 3}
        assert version["run_id"].startswith("run-")

    @pytest.mark.parametrize(("number", "status"), [("7", 404), ("-1", 422), ("99999999999999999999", 422), ("x", 422)])
    def test_finds_no_other(self, live: Live, number: str, status: int) -> None:
        assert live.http.get(f"{URL}/{number}", headers=live.callers.admin).status_code == status
