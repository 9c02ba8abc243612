"""A key that asked too often is answered from memory until its pause ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from settings import Settings
from tests.unit.api.live import QUESTION, Artifacts, Live, start_app

ORIGIN = "https://chat.example"


@pytest.fixture
def live(settings: Settings, artifacts: Artifacts) -> Iterator[Live]:
    """One request a minute for each key; that of the client has been used up, and it was refused once."""
    strict = {"rate_per_minute": 1.0, "rate_burst": 1, "cors_origins": [ORIGIN]}
    with start_app(settings.model_copy(update=strict), artifacts) as live:
        assert [ask(live).status_code for _ in range(2)] == [200, 429]
        yield live


def ask(live: Live, path: str = "/v1/models", headers: dict[str, str] | None = None) -> Any:
    return live.http.get(path, headers={"Origin": ORIGIN} | (headers or live.callers.client))


class TestPausedKeys:
    def test_refuses_before_it_reads_the_body(self, live: Live) -> None:
        reads: list[int] = []

        async def watch(scope: Scope, receive: Receive, send: Send) -> None:
            reads.append(0)

            async def count_reads() -> Message:
                reads[-1] += 1
                return await receive()

            await live.app(scope, count_reads, send)

        http, headers = TestClient(watch), live.callers.client
        answers = [http.post("/v1/chat/completions", json=QUESTION, headers=headers) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [429] * 3
        assert reads.count(0) >= 2  # every few seconds one goes on, to ask the database for its key

    def test_answers_as_the_guard_of_a_route_does(self, settings: Settings, artifacts: Artifacts) -> None:
        strict = {"rate_per_minute": 1.0, "rate_burst": 1, "cors_origins": [ORIGIN]}
        with start_app(settings.model_copy(update=strict), artifacts) as live:
            allowed, guarded, paused = (ask(live) for _ in range(3))
        assert (allowed.status_code, guarded.json()) == (200, paused.json())
        assert set(guarded.headers) == set(paused.headers) >= {"x-request-id", "access-control-allow-origin"}
        assert paused.headers["Content-Type"] == "application/problem+json"
        assert 50 <= int(paused.headers["Retry-After"]) <= int(guarded.headers["Retry-After"]) <= 60

    def test_holds_nobody_else_and_nothing_that_needs_no_key(self, live: Live) -> None:
        assert ask(live, "/readyz").status_code == 200
        assert ask(live, headers=live.callers.other_client).status_code == 200
        assert [ask(live, headers=live.callers.admin).status_code for _ in range(3)] == [200] * 3
        assert ask(live, headers=live.callers.revoked).status_code == 401
        assert ask(live, headers={"Authorization": "Bearer rk-wrong"}).status_code == 401

    def test_logs_the_pause_once_and_counts_each_refusal(self, live: Live, caplog: pytest.LogCaptureFixture) -> None:
        caplog.clear()
        reviewer = live.callers.reviewer
        assert [ask(live, "/v1/reviews/next", reviewer).status_code for _ in range(4)][1:] == [429] * 3
        actions = [json.loads(record.message)["action"] for record in caplog.records if record.name == "ratchet.api"]
        assert actions.count("key_paused") == 1
        assert 2 <= actions.count("request") < 4  # the one let in, the first refusal, and who asks the database again
        assert 'ratchet_limited_total{limit="rate"} 4.0' in ask(live, "/metrics").text
