"""What was served to one client is not there for another: a matrix built from the OpenAPI document."""

from __future__ import annotations

import pytest

from tests.unit.api.live import Headers, Live
from tests.unit.api.test_auth import CLIENT

ID_ROUTES = [(method, path) for method, path in CLIENT if "{" in path]


@pytest.fixture
def owned(live: Live) -> dict[str, str]:
    """The ids of what belongs to a client, by the name of the parameter."""
    answer = live.chat(metadata={"conversation_id": "chat-42"})
    body = {"completion_id": answer["id"], "rating": "up"}
    assert live.http.post("/v1/feedback", json=body, headers=live.callers.client).status_code == 201
    return {"completion_id": answer["id"], "conversation_id": "chat-42"}


def call(live: Live, method: str, path: str, headers: Headers) -> int:
    return live.http.request(method, path, headers=headers).status_code


class TestOwnership:
    def test_the_matrix_holds_the_routes_of_clients(self) -> None:
        assert {("GET", "/v1/feedback/{completion_id}"), ("DELETE", "/v1/feedback/{completion_id}")} < set(ID_ROUTES)

    @pytest.mark.parametrize(("method", "path"), ID_ROUTES)
    def test_another_clients_id_is_not_found(self, live: Live, owned: dict[str, str], method: str, path: str) -> None:
        url = path.format(**owned)
        assert call(live, method, url, live.callers.other_client) == 404
        assert call(live, method, url, live.callers.client) in (200, 204)
