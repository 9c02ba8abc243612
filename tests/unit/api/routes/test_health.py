"""Health, readiness and metrics, which need no key."""

from __future__ import annotations

from tests.unit.api.live import Artifacts, Live


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
