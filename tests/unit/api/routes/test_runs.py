"""Runs over HTTP."""

from __future__ import annotations

import redis

from db.models import Run
from settings import Settings
from tests.rows import add_finished_run
from tests.unit.api.live import Artifacts, Live, read_pages, start_app

URL = "/v1/admin/runs"
QUEUE = "train"


def find_nudge_time(live: Live, run_id: str) -> float | None:
    with live.services.database.reading() as session:
        return session.get_one(Run, run_id).nudged_at_s


class TestStartRun:
    def test_queues_a_run_and_nudges_the_workers(self, live: Live, broker_url: str) -> None:
        with redis.Redis.from_url(broker_url) as broker:
            broker.delete(QUEUE)
            response = live.http.post(URL, headers=live.callers.admin)
            messages = [bytes(message).decode() for message in broker.lrange(QUEUE, 0, -1)]
        body = response.json()
        assert response.status_code == 202
        assert (body["status"], body["trigger"], body["attempt"]) == ("queued", "admin", 0)
        assert len(messages) == 1
        assert body["id"] in messages[0]
        assert find_nudge_time(live, body["id"]) is not None

    def test_queues_a_run_though_the_broker_is_down(self, settings: Settings, artifacts: Artifacts) -> None:
        settings = settings.model_copy(update={"broker_url": "redis://127.0.0.1:1/0"})  # nobody listens there
        with start_app(settings, artifacts) as live:
            live.services.celery.conf.broker_transport_options["max_retries"] = 0  # or it takes seconds
            response = live.http.post(URL, headers=live.callers.admin)
            assert response.status_code == 202
            assert find_nudge_time(live, response.json()["id"]) is None  # so the sweep sends it again

    def test_takes_recipe_fields(self, live: Live) -> None:
        response = live.http.post(URL, json={"recipe": {"trainable": "last:2"}}, headers=live.callers.admin)
        assert response.json()["recipe"]["trainable"] == "last:2"
        assert response.json()["recipe"]["batch_size"] == 8

    def test_refuses_a_wrong_recipe(self, live: Live) -> None:
        response = live.http.post(URL, json={"recipe": {"epochs": 2}}, headers=live.callers.admin)
        assert response.status_code == 400
        assert "'epochs'" in response.json()["detail"]

    def test_refuses_a_second_active_run(self, live: Live) -> None:
        run_id = live.http.post(URL, headers=live.callers.admin).json()["id"]
        response = live.http.post(URL, headers=live.callers.admin)
        assert response.status_code == 409
        assert run_id in response.json()["detail"]


class TestListAllRuns:
    def test_lists_them(self, live: Live) -> None:
        run = live.http.post(URL, headers=live.callers.admin).json()
        assert live.http.get(URL, headers=live.callers.admin).json() == {"data": [run], "next_cursor": None}

    def test_goes_back_page_by_page(self, live: Live) -> None:
        with live.services.database.transaction() as session:
            ids = [add_finished_run(session) for _ in range(3)]
        pages = list(read_pages(live, URL, limit=2))
        assert [len(page) for page in pages] == [2, 1]
        assert sorted(run["id"] for page in pages for run in page) == sorted(ids)

    def test_knows_no_other_cursor(self, live: Live) -> None:
        assert live.http.get(f"{URL}?cursor=run-1", headers=live.callers.admin).status_code == 404


class TestReadRun:
    def test_shows_one(self, live: Live) -> None:
        run = live.http.post(URL, headers=live.callers.admin).json()
        assert live.http.get(f"{URL}/{run['id']}", headers=live.callers.admin).json() == run

    def test_finds_no_other(self, live: Live) -> None:
        assert live.http.get(f"{URL}/run-1", headers=live.callers.admin).status_code == 404


class TestCancelRun:
    def test_cancels_a_run_that_nobody_holds(self, live: Live) -> None:
        run_id = live.http.post(URL, headers=live.callers.admin).json()["id"]
        response = live.http.post(f"{URL}/{run_id}/cancel", headers=live.callers.admin)
        assert (response.status_code, response.json()["status"]) == (202, "cancelled")
        assert live.http.post(f"{URL}/{run_id}/cancel", headers=live.callers.admin).status_code == 409
