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

    @pytest.mark.parametrize(("path", "model"), [("/v1/chat/completions", Completion), ("/v1/feedback", Feedback)])
    @pytest.mark.parametrize("stream", [False, True])
    def test_commits_before_the_response_leaves(
        self, live: Live, path: str, model: type[Completion | Feedback], stream: bool
    ) -> None:
        rows_when_told: list[int] = []

        async def tell(scope: Scope, receive: Receive, send: Send) -> None:
            async def send_and_look(message: Message) -> None:
                if is_success(message, stream):
                    with live.services.database.reading() as session:
                        rows_when_told.append(session.scalar(select(func.count()).select_from(model)) or 0)
                await send(message)

            await live.app(scope, receive, send_and_look)

        body: dict[str, Any] = QUESTION | {"stream": stream}
        if model is Feedback:
            body = {"completion_id": live.chat()["id"], "rating": "up"}
        TestClient(tell).post(path, json=body, headers=live.callers.client)
        assert rows_when_told == [1]

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
            assert session.scalars(select(Feedback.times_given)).all() == [120]

    def test_takes_the_settings_of_the_process(self) -> None:
        assert create_app().title == "Ratchet"


def is_success(message: Message, stream: bool) -> bool:
    """Whether the message tells the client that all went well: the status, or in a stream the end of the reply."""
    if stream and message["type"] == "http.response.body":
        return b'"finish_reason":"length"' in message["body"]
    return not stream and message["type"] == "http.response.start" and message["status"] < 300
