"""Uploads of examples."""

from __future__ import annotations

import gzip

import httpx2
import pytest
from fastapi.testclient import TestClient
from starlette.types import Message, Receive, Scope, Send

from db.examples import count_examples
from tests.unit.api.live import Live

GOOD = b"Context,Response,rating\nI am sad.,Tell me more.,up\nI am sad.,Tell me more.,up\nHello,Hi,\n"


def upload(live: Live, content: bytes, name: str = "pairs.csv") -> httpx2.Response:
    return live.http.post("/v1/admin/examples", files={"file": (name, content)}, headers=live.callers.admin)


def count(live: Live) -> int:
    with live.services.database.reading() as session:
        return count_examples(session)


class TestUploadExamples:
    def test_imports_a_file_once(self, live: Live) -> None:
        first, second = upload(live, GOOD), upload(live, gzip.compress(GOOD), "pairs.csv.gz")
        assert first.json() == {"rows_read": 3, "imported": 2, "already_there": 0, "dropped": {"duplicate": 1}}
        assert second.json()["already_there"] == 2
        assert count(live) == 2

    def test_imports_nothing_when_a_line_is_wrong(self, live: Live) -> None:
        response = upload(live, GOOD + b"one,two,three\nx,y,sideways\n")
        assert response.status_code == 400
        assert [problem["where"] for problem in response.json()["problems"]] == ["line 5", "line 6"]
        assert count(live) == 0

    @pytest.mark.parametrize(
        ("content", "name"), [(b"", "a.csv"), (b"x", "a.exe"), (GOOD.decode().encode("utf-16"), "a.csv")]
    )
    def test_refuses_a_file_that_it_cannot_read(self, live: Live, content: bytes, name: str) -> None:
        assert upload(live, content, name).status_code == 400
        assert count(live) == 0

    def test_takes_more_than_other_routes(self, live: Live) -> None:
        row = b'"%s",answer\n' % (b"word " * 10_000)
        response = upload(live, b"Context,Response\n" + row * 30)
        assert response.json()["imported"] == 1

    def test_wants_a_file(self, live: Live) -> None:
        for files in (None, {"other": ("a.csv", GOOD)}, {"file": (None, "text")}):
            response = live.http.post("/v1/admin/examples", files=files, headers=live.callers.admin)
            assert response.status_code == 422
            assert response.json()["problems"] == [{"where": "body.file", "reason": "Field required"}]

    def test_refuses_a_broken_form(self, live: Live) -> None:
        headers = live.callers.admin | {"Content-Type": "multipart/form-data; boundary=x"}
        assert live.http.post("/v1/admin/examples", content=b"--y", headers=headers).status_code == 400

    def test_asks_for_the_key_before_it_reads_the_body(self, live: Live) -> None:
        reads = 0

        async def watch(scope: Scope, receive: Receive, send: Send) -> None:
            async def count_reads() -> Message:
                nonlocal reads
                reads += 1
                return await receive()

            await live.app(scope, count_reads, send)

        response = TestClient(watch).post(
            "/v1/admin/examples", files={"file": ("a.csv", GOOD)}, headers=live.callers.client
        )
        assert (response.status_code, reads) == (403, 0)
