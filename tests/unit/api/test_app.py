"""The app as a whole: what it imports, when it commits, how it meets a database that is down, how it ends."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select
from starlette.types import Message, Receive, Scope, Send

from api.app import create_app
from db.models import Completion, Feedback
from db.session import Database
from settings import Settings
from tests.unit.api.live import QUESTION, Artifacts, Live, start_app

ROOT = Path(__file__).parents[3]


class TestCreateApp:
    def test_imports_no_torch(self) -> None:
        code = "import api.app, sys; sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
        assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0

    def test_closes_what_it_opened(self, settings: Settings, artifacts: Artifacts) -> None:
        with start_app(settings, artifacts) as live:
            handle = live.services.slot.current
        assert handle is not None
        assert handle.closed.is_set()

    @pytest.mark.parametrize("stream", [False, True])
    def test_commits_a_completion_before_the_client_has_the_reply(self, live: Live, stream: bool) -> None:
        end = b'"finish_reason":"length"' if stream else b""
        body = QUESTION | {"stream": stream}
        assert count_rows_when_told(live, Completion, "/v1/chat/completions", body, end) == 1

    def test_commits_a_rating_before_it_is_acknowledged(self, live: Live) -> None:
        body = {"completion_id": live.chat()["id"], "rating": "up"}
        assert count_rows_when_told(live, Feedback, "/v1/feedback", body) == 1

    def test_says_that_the_database_is_down(self, live: Live) -> None:
        Path(live.services.settings.var / "ratchet.db").rename(live.services.settings.var / "away.db")
        Path(live.services.settings.var / "ratchet.db").mkdir()
        live.services.database.dispose()
        response = live.http.post("/v1/chat/completions", json=QUESTION, headers=live.callers.client)
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert response.json()["error"]["code"] == "database_unavailable"

    def test_many_raters_at_once_leave_one_row(self, live: Live) -> None:
        body = {"completion_id": live.chat()["id"], "rating": "up"}

        def rate(_: int) -> int:
            return live.http.post("/v1/feedback", json=body, headers=live.callers.client).status_code

        with ThreadPoolExecutor(60) as threads:
            statuses = sorted(threads.map(rate, range(120)))
        assert statuses == [200] * 119 + [201]
        with Database(live.services.settings.database).reading() as session:
            assert session.scalars(select(Feedback.times_given)).all() == [1]

    def test_takes_the_settings_of_the_process(self) -> None:
        assert create_app().title == "Ratchet"


def count_rows_when_told(
    live: Live, model: type[Completion | Feedback], path: str, body: dict[str, Any], end: bytes = b""
) -> int:
    """How many rows there are when the first message leaves; or, with `end`, the one that holds these bytes."""
    counts: list[int] = []

    async def watch(scope: Scope, receive: Receive, send: Send) -> None:
        async def look_and_send(message: Message) -> None:
            if end in message.get("body", b""):
                with live.services.database.reading() as session:
                    counts.append(session.scalar(select(func.count()).select_from(model)) or 0)
            await send(message)

        await live.app(scope, receive, look_and_send)

    TestClient(watch).post(path, json=body, headers=live.callers.client)
    return counts[0]
