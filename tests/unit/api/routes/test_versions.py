"""Versions over HTTP."""

from __future__ import annotations

import pytest

from data.vocabulary import Verdict
from db.evaluations import finish_evaluation, start_evaluation
from db.versions import get_version
from tests.unit.api.live import Artifacts, Live, add_first_version, read_pages

URL = "/v1/admin/versions"


class TestListAllVersions:
    def test_lists_them_and_marks_production(self, live: Live, artifacts: Artifacts) -> None:
        add_first_version(live.services.database, artifacts)
        versions = live.http.get(URL, headers=live.callers.admin).json()["data"]
        assert [(item["number"], item["is_production"]) for item in versions] == [(1, False), (0, True)]
        assert versions[0]["digest"] == artifacts.digests[1]

    def test_goes_back_page_by_page(self, live: Live, artifacts: Artifacts) -> None:
        add_first_version(live.services.database, artifacts)
        pages = read_pages(live, URL, limit=1)
        assert [[item["number"] for item in page] for page in pages] == [[1], [0]]

    def test_marks_what_passed_the_gate_and_waits(self, live: Live, artifacts: Artifacts) -> None:
        add_first_version(live.services.database, artifacts)
        before = live.http.get(URL, headers=live.callers.admin).json()["data"]
        with live.services.database.transaction() as session:
            run_id = get_version(session, 1).run_id or ""
            start_evaluation(session, run_id, artifacts.digests[1], production_version=0)
            finish_evaluation(session, run_id, {}, Verdict.PROMOTE)
        after = live.http.get(URL, headers=live.callers.admin).json()["data"]
        assert [item["awaits_approval"] for item in before + after] == [False, False, True, False]
        assert live.http.get(f"{URL}/1", headers=live.callers.admin).json()["awaits_approval"]


class TestReadVersion:
    def test_shows_the_report(self, live: Live, artifacts: Artifacts) -> None:
        add_first_version(live.services.database, artifacts)
        version = live.http.get(f"{URL}/1", headers=live.callers.admin).json()
        assert version["report"] == {"rows": 3}
        assert version["run_id"].startswith("run-")

    @pytest.mark.parametrize(("number", "status"), [("7", 404), ("-1", 422), ("99999999999999999999", 422), ("x", 422)])
    def test_finds_no_other(self, live: Live, number: str, status: int) -> None:
        assert live.http.get(f"{URL}/{number}", headers=live.callers.admin).status_code == status
