"""What wraps every request."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient

from api.app import BODY_LIMIT_BYTES, create_app
from api.auth import PUBLIC
from settings import Settings
from tests.unit.api.live import QUESTION, Live

SECRET = "I feel alone."


ORIGIN = "https://chat.example"


class TestCors:
    def test_is_off_unless_configured(self, live: Live) -> None:
        response = live.http.get("/healthz", headers={"Origin": ORIGIN})
        assert not any(name.startswith("access-control") for name in response.headers)

    def test_lets_the_configured_origin_in_and_no_other(self, settings: Settings) -> None:
        with TestClient(create_app(settings.model_copy(update={"cors_origins": (ORIGIN,)}))) as http:
            for origin, allowed in ((ORIGIN, ORIGIN), ("https://other.example", None)):
                preflight = {"Origin": origin, "Access-Control-Request-Method": "POST"}
                asked = http.options("/v1/chat/completions", headers=preflight)
                refused = http.post("/v1/chat/completions", headers={"Origin": origin})
                for response in (asked, refused):
                    assert response.headers.get("Access-Control-Allow-Origin") == allowed
                assert refused.status_code in (401, 422)

    def test_lets_the_headers_of_openais_sdk_through(self, settings: Settings) -> None:
        names = "authorization,content-type,x-stainless-arch,x-stainless-lang,x-stainless-os,x-stainless-retry-count"
        with TestClient(create_app(settings.model_copy(update={"cors_origins": (ORIGIN,)}))) as http:
            for origin, status in ((ORIGIN, 200), ("https://other.example", 400)):
                preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": names}
                asked = http.options("/v1/chat/completions", headers={"Origin": origin, **preflight})
                assert asked.status_code == status
        assert set(names.split(",")) <= set(asked.headers["Access-Control-Allow-Headers"].split(","))


class TestBodyLimit:
    def test_refuses_a_declared_length_before_parsing(self, live: Live) -> None:
        response = live.http.post("/v1/chat/completions", content=b"x" * (BODY_LIMIT_BYTES + 1))
        assert response.status_code == 413
        assert response.json()["error"]["code"] == "content_too_large"
        assert response.headers["Content-Type"] == "application/problem+json"

    def test_refuses_a_body_in_chunks(self, live: Live) -> None:
        async def send_chunks() -> object:
            sent: list[dict[str, object]] = []
            scope = {
                "type": "http",
                "method": "POST",
                "path": "/v1/chat/completions",
                "query_string": b"",
                "headers": [(b"content-type", b"application/json")],
            }
            received = 0

            async def receive() -> dict[str, object]:
                nonlocal received
                received += 1
                return {"type": "http.request", "body": b"x" * 100_000, "more_body": True}

            async def send(message: dict[str, object]) -> None:
                sent.append(message)

            await live.app(scope, receive, send)  # type: ignore[arg-type]
            assert received == 11  # not one more than it takes
            return sent[0]["status"]

        assert live.http.portal is not None
        assert live.http.portal.call(send_chunks) == 413

    def test_lets_a_body_of_the_limit_through(self, live: Live) -> None:
        body = json.dumps(QUESTION)
        padded = body + " " * (BODY_LIMIT_BYTES - len(body))
        headers = live.callers.client | {"Content-Type": "application/json"}
        response = live.http.post("/v1/chat/completions", content=padded, headers=headers)
        assert response.status_code == 200

    @pytest.mark.parametrize("body", ["[" * 100_000, "9" * 10_000, '{"messages": "', "\xff"])
    def test_a_strange_body_is_the_clients_fault(self, live: Live, body: str) -> None:
        headers = live.callers.client | {"Content-Type": "application/json"}
        response = live.http.post("/v1/chat/completions", content=body.encode("latin-1"), headers=headers)
        assert response.status_code in (400, 422)


class TestRequestEdge:
    @pytest.mark.parametrize(
        ("path", "caching"),
        [("/healthz", None), ("/docs", None), ("/v1/models", "no-store"), ("/v1/nowhere", "no-store")],
    )
    def test_protects_every_answer(self, live: Live, path: str, caching: str | None) -> None:
        headers = live.http.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Content-Security-Policy"] == "frame-ancestors 'none'"
        assert headers.get("Cache-Control") == caching

    def test_gives_each_request_an_id(self, live: Live) -> None:
        ids = {live.http.get(path).headers["X-Request-Id"] for path in ("/healthz", "/healthz", "/nowhere")}
        assert len(ids) == 3

    def test_logs_the_request_and_no_text_or_key(self, live: Live, caplog: pytest.LogCaptureFixture) -> None:
        with caplog.at_level(logging.DEBUG):
            messages = [{"role": "user", "content": SECRET}]
            answer = live.chat(messages=messages, user=SECRET)
            feedback = {"completion_id": answer["id"], "rating": "up", "comment": SECRET}
            live.http.post("/v1/feedback", json=feedback, headers=live.callers.client)
            live.http.post("/v1/feedback", json=feedback | {"rating": SECRET}, headers=live.callers.client)
        lines = [json.loads(record.message) for record in caplog.records if record.name == "ratchet.api"]
        routes = [(line["route"], line["status"]) for line in lines if line["action"] == "request"]
        assert routes == [("/v1/chat/completions", 200), ("/v1/feedback", 201), ("/v1/feedback", 422)]
        assert all(line["request_id"].startswith("req-") for line in lines)
        assert SECRET not in caplog.text
        assert answer["choices"][0]["message"]["content"] not in caplog.text
        assert live.callers.client["Authorization"].removeprefix("Bearer ") not in caplog.text

    def test_hides_a_crash_and_logs_where_it_was(self, settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
        router = APIRouter()

        @router.get("/crash", dependencies=[PUBLIC])
        def crash() -> None:
            raise KeyError(SECRET)

        with TestClient(create_app(settings, [router])) as http:
            response = http.get("/crash")
        assert response.status_code == 500
        assert response.json()["error"]["code"] == "internal_error"
        assert response.headers["X-Request-Id"] in caplog.text
        assert "test_middleware.py" in caplog.text
        assert SECRET not in response.text + caplog.text

    def test_cannot_mend_a_response_that_has_begun(self, settings: Settings) -> None:
        router = APIRouter()

        @router.get("/crash", dependencies=[PUBLIC])
        def crash() -> StreamingResponse:
            def stream() -> Iterator[str]:
                yield "half"
                raise KeyError(SECRET)

            return StreamingResponse(stream())

        with TestClient(create_app(settings, [router]), raise_server_exceptions=False) as http:
            assert http.get("/crash").text == "half"
            assert 'ratchet_requests_total{route="/crash",status="200"} 1.0' in (
                http.app.state.services.metrics.render().decode()  # type: ignore[attr-defined]
            )
