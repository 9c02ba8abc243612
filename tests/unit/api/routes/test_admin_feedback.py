"""All feedback over HTTP."""

from __future__ import annotations

import pytest

from tests.unit.api.live import Live, read_pages

URL = "/v1/admin/feedback"


@pytest.fixture
def rated(live: Live) -> Live:
    """Replies rated by three people, the last of them with a thumb down."""
    for number, rating in enumerate(("up", "up", "down")):
        body = {"completion_id": live.chat(user=f"rater-{number}")["id"], "rating": rating}
        assert live.http.post("/v1/feedback", json=body, headers=live.callers.client).status_code == 201
    return live


class TestListAllFeedback:
    def test_shows_the_reply_too(self, rated: Live) -> None:
        [newest, *_] = rated.http.get(URL, headers=rated.callers.admin).json()["data"]
        assert (newest["rater"], newest["rating"], newest["version_number"]) == ("rater-2", "down", 0)
        assert newest["messages"] == [{"role": "user", "content": "I cannot sleep."}]
        assert newest["reply"]

    def test_goes_back_page_by_page(self, rated: Live) -> None:
        pages = read_pages(rated, URL, limit=2)
        assert [[row["rater"] for row in page] for page in pages] == [["rater-2", "rater-1"], ["rater-0"]]

    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ("rating=up", 2),
            ("rater=rater-1", 1),
            ("version=0", 3),
            ("version=1", 0),
            ("since=0", 3),
            ("since=99999999999", 0),
            ("rating=down&rater=rater-1", 0),
        ],
    )
    @pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
    def test_filters(self, rated: Live, query: str, count: int, form: str) -> None:
        response = rated.http.get(f"{URL}?{query}&format={form}", headers=rated.callers.admin)
        assert response.status_code == 200
        rows = response.json()["data"] if form == "json" else response.text.splitlines()[form == "csv" :]
        assert len(rows) == count

    def test_gives_a_file(self, rated: Live) -> None:
        response = rated.http.get(f"{URL}?format=csv", headers=rated.callers.admin)
        assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert response.headers["Content-Disposition"] == 'attachment; filename="feedback.csv"'
        files = {"file": ("feedback.csv", response.content)}
        imported = rated.http.post("/v1/admin/examples", files=files, headers=rated.callers.admin).json()
        assert imported["rows_read"] == 3

    @pytest.mark.parametrize(
        "query", ["rating=meh", "since=nan", "version=-1", "format=xml", "cursor=x", "limit=0", "rater=%00"]
    )
    def test_refuses_another_shape(self, live: Live, query: str) -> None:
        assert live.http.get(f"{URL}?{query}", headers=live.callers.admin).status_code == 422
