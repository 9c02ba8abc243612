"""Raters over HTTP."""

from __future__ import annotations

from urllib.parse import quote

import httpx

from tests.unit.api.live import Live

USER = "group/user-17"


def rate(live: Live) -> None:
    feedback = {"completion_id": live.chat(user=USER)["id"], "rating": "up", "user": USER}
    assert live.http.post("/v1/feedback", json=feedback, headers=live.callers.client).status_code == 201


def post(live: Live, action: str, **body: str) -> httpx.Response:
    path = f"/v1/admin/raters/{quote(USER, safe='')}/{action}"
    return live.http.post(path, json=body or None, headers=live.callers.admin)


def read_rater(live: Live) -> dict[str, object]:
    (rater,) = live.http.get("/v1/admin/raters", headers=live.callers.admin).json()["data"]
    return dict(rater)


class TestRaters:
    def test_are_excluded_and_admitted(self, live: Live) -> None:
        rate(live)
        rater = read_rater(live)
        assert (rater["rater"], rater["weight"], rater["exclusion_id"]) == (USER, 1.0, None)
        response = post(live, "exclude", reason="Pushes a name.")
        receipt = response.json()
        assert (response.status_code, receipt["rater"], receipt["marked_versions"]) == (202, USER, [])
        assert (receipt["retrain_run_id"], receipt["retrain_pending"]) == (None, False)
        rater = read_rater(live)
        assert (rater["exclusion_id"], rater["weight"]) == (receipt["id"], None)
        assert post(live, "exclude", reason="Again.").status_code == 409
        path = f"/v1/admin/rater-exclusions/{receipt['id']}"
        assert live.http.get(path, headers=live.callers.admin).json() == receipt
        assert post(live, "admit").json()["admitted_at_s"] is not None
        assert read_rater(live)["exclusion_id"] is None
        listed = live.http.get("/v1/admin/rater-exclusions", headers=live.callers.admin).json()["data"]
        assert [item["id"] for item in listed] == [receipt["id"]]

    def test_an_exclusion_outlives_the_erasure_without_the_name(self, live: Live) -> None:
        rate(live)
        exclusion_id = post(live, "exclude", reason="Pushes a name.").json()["id"]
        erase = f"/v1/admin/end-users/{quote(USER, safe='')}"
        assert live.http.delete(erase, headers=live.callers.admin).status_code == 202
        (listed,) = live.http.get("/v1/admin/rater-exclusions", headers=live.callers.admin).json()["data"]
        assert (listed["id"], listed["reason"], listed["admitted_at_s"]) == (exclusion_id, "", None)
        assert USER not in str(listed)
        rate(live)  # who comes back is the same to us
        assert read_rater(live)["exclusion_id"] == exclusion_id
        assert post(live, "admit").json()["id"] == exclusion_id
        assert read_rater(live)["exclusion_id"] is None

    def test_strangers_and_empty_reasons_are_refused(self, live: Live) -> None:
        assert post(live, "exclude", reason="Why not.").status_code == 404
        assert post(live, "admit").status_code == 404
        assert post(live, "exclude", reason=" ").status_code == 422
        assert live.http.get("/v1/admin/rater-exclusions/none", headers=live.callers.admin).status_code == 404

    def test_is_for_admins(self, live: Live) -> None:
        assert live.http.get("/v1/admin/raters", headers=live.callers.client).status_code == 403
