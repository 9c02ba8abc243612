"""Health, readiness and metrics, which need no key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import create_app
from api.vitals import check_vitals
from db.promotions import promote
from db.session import Database
from db.versions import ensure_base_version
from serving.handle import ModelHandle, load_handle
from settings import Settings
from tests.processes import await_value
from tests.unit.api.live import QUESTION, Artifacts, Live, add_base_version, add_callers, add_first_version


class Unforeseen(Exception):
    """Of a class that no handler names."""


@contextmanager
def start_broken(settings: Settings, artifacts: Artifacts, base: str | None = None) -> Iterator[Live]:
    """An app that starts when the artifact of production, version 1, is gone; its base lies in the folder `base`."""
    database = Database(settings.database)
    with database.transaction() as session:
        ensure_base_version(session, artifacts.digests[0], base or artifacts.folders[0], "tiny")
    add_first_version(database, artifacts, folder="gone")
    with database.transaction() as session:
        promote(session, 1, "manual", "Better.", "ann")
    callers = add_callers(database)
    database.dispose()
    app = create_app(settings)
    with TestClient(app, raise_server_exceptions=False) as http:
        yield Live(app, http, callers)


class TestReadHealth:
    def test_is_alive(self, live: Live) -> None:
        assert live.http.get("/healthz").json() == {"status": "ok"}


class TestReadReadiness:
    def test_names_the_version_that_answers(self, live: Live, artifacts: Artifacts) -> None:
        assert live.http.get("/readyz").json() == {
            "status": "ready",
            "version": 0,
            "model": "ratchet-v0",
            "digest": artifacts.digests[0],
            "production": 0,
            "is_fallback": False,
        }

    def test_is_not_ready_without_a_model(self, live: Live) -> None:
        live.services.slot.close()
        response = live.http.get("/readyz")
        assert response.status_code == 503
        assert "Retry-After" in response.headers

    def test_starts_with_what_was_in_production_before(self, settings: Settings, artifacts: Artifacts) -> None:
        with start_broken(settings, artifacts) as live:
            live.services.watch.settled.wait(60)
            readiness = live.http.get("/readyz").json()
            assert live.chat()["model"] == "ratchet-v0"
        assert (readiness["version"], readiness["production"], readiness["is_fallback"]) == (0, 1, True)

    def test_says_that_no_version_loads(self, settings: Settings, artifacts: Artifacts) -> None:
        with start_broken(settings, artifacts, base="gone") as live:
            live.services.watch.settled.wait(60)
            response = live.http.get("/readyz")
            chat = live.http.post("/v1/chat/completions", json=QUESTION, headers=live.callers.client)
        assert (response.status_code, chat.status_code) == (503, 503)
        assert response.json()["detail"].startswith("Neither production nor a version before it loads; ")

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
    def test_is_not_ready_once_production_is_followed_no_longer(self, settings: Settings, artifacts: Artifacts) -> None:
        def load(folder: Path, version: int, compute_type: str, threads: int) -> ModelHandle:
            if version == 1:
                raise Unforeseen
            return load_handle(folder, version, compute_type, threads)

        database = Database(settings.database)
        add_base_version(database, artifacts)
        add_first_version(database, artifacts)
        app = create_app(settings.model_copy(update={"poll_s": 0.05}), load=load)
        with TestClient(app) as http:
            await_value(lambda: http.get("/readyz").status_code, lambda status: status == 200)
            with database.transaction() as session:
                promote(session, 1, "manual", "Better.", "ann")
            await_value(lambda: http.get("/readyz").status_code, lambda status: status == 503)
            assert http.get("/readyz").json()["detail"].startswith("This server follows production no longer, ")
            assert check_vitals(app.state.services)[0].state == "down"
        database.dispose()


class TestReadMetrics:
    def test_shows_requests_swaps_and_the_version(self, live: Live) -> None:
        live.http.get("/v1/feedback/chatcmpl-1", headers=live.callers.client)
        lines = live.http.get("/metrics").text.splitlines()
        assert 'ratchet_requests_total{route="/v1/feedback/{completion_id}",status="404"} 1.0' in lines
        assert 'ratchet_request_seconds_count{route="/v1/feedback/{completion_id}"} 1.0' in lines
        assert 'ratchet_swaps_total{outcome="ok"} 1.0' in lines
        assert "ratchet_served_version 0.0" in lines
        assert "ratchet_chat_waiting 0.0" in lines
        assert "ratchet_chat_running 0.0" in lines

    def test_says_when_nothing_is_served(self, live: Live) -> None:
        live.services.slot.close()
        assert "ratchet_served_version -1.0" in live.http.get("/metrics").text
