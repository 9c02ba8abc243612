"""The schedule over HTTP."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.api.live import Live

URL = "/v1/admin/schedule"
APPROVE = {"interval_s": 3600, "min_ratings": 20, "mode": "approve"}


class TestReadSchedule:
    def test_begins_with_the_settings(self, live: Live) -> None:
        assert live.http.get(URL, headers=live.callers.admin).json() == {
            "interval_s": 0,
            "min_ratings": 50,
            "mode": "auto",
            "updated_at_s": None,
            "updated_by": None,
        }


class TestReplaceSchedule:
    def test_stores_it_and_who_set_it(self, live: Live) -> None:
        response = live.http.put(URL, json=APPROVE, headers=live.callers.admin)
        assert response.status_code == 200
        assert response.json().items() >= APPROVE.items()
        assert response.json()["updated_by"].startswith("key-")
        assert live.http.get(URL, headers=live.callers.admin).json() == response.json()

    @pytest.mark.parametrize(
        "wrong", [{"interval_s": -1}, {"interval_s": 0.5}, {"interval_s": 1e12}, {"min_ratings": 0}, {"mode": "never"}]
    )
    def test_refuses_what_no_schedule_can_be(self, live: Live, wrong: dict[str, Any]) -> None:
        assert live.http.put(URL, json=APPROVE | wrong, headers=live.callers.admin).status_code == 422
