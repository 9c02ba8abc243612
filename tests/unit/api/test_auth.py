"""Who may call what: a matrix built from the OpenAPI document."""

from __future__ import annotations

import pytest
from fastapi import APIRouter
from fastapi.responses import PlainTextResponse
from starlette.routing import Route

from api.app import create_app
from api.auth import check_routes_declare_access
from tests.unit.api.live import Headers, Live

ADMIN_PREFIX = "/v1/admin/"
REVIEWER_PREFIX = "/v1/reviews/"
PUBLIC_PATHS = {"/healthz", "/readyz", "/metrics"}
OPERATIONS = [
    (method.upper(), path) for path, operations in create_app().openapi()["paths"].items() for method in operations
]
GUARDED = [(method, path) for method, path in OPERATIONS if path not in PUBLIC_PATHS]
ADMIN = [(method, path) for method, path in GUARDED if path.startswith(ADMIN_PREFIX)]
REVIEWER = [(method, path) for method, path in GUARDED if path.startswith(REVIEWER_PREFIX)]
CLIENT = [operation for operation in GUARDED if operation not in ADMIN + REVIEWER]


def call(live: Live, method: str, path: str, headers: Headers) -> int:
    path = path.replace("{number}", "0").replace("{completion_id}", "chatcmpl-1").replace("{run_id}", "run-1")
    path = path.replace("{subject}", "0")  # of a lineage
    body = {
        **{"reason": "x", "rating": "up", "completion_id": "x", "messages": [{"role": "user", "content": "x"}]},
        **{"verdict": "good", "interval_s": 0, "min_ratings": 1, "mode": "auto"},
    }
    if path == "/v1/admin/examples":
        return live.http.request(method, path, headers=headers, files={"file": ("a.csv", b"x")}).status_code
    takes_body = method in {"POST", "PUT"}
    return live.http.request(method, path, headers=headers, json=body if takes_body else None).status_code


class TestRoleGuard:
    def test_every_admin_route_is_under_test(self) -> None:
        assert len(ADMIN) >= 10

    @pytest.mark.parametrize(("method", "path"), GUARDED)
    def test_refuses_no_unknown_and_revoked_keys(self, live: Live, method: str, path: str) -> None:
        for headers in (
            {},
            {"Authorization": "Bearer rk-wrong"},
            {"Authorization": "Basic eDp5"},
            live.callers.revoked,
        ):
            assert call(live, method, path, headers) == 401

    @pytest.mark.parametrize(("method", "path"), ADMIN)
    def test_refuses_other_roles_on_admin_routes(self, live: Live, method: str, path: str) -> None:
        assert call(live, method, path, live.callers.client) == 403
        assert call(live, method, path, live.callers.reviewer) == 403

    @pytest.mark.parametrize(("method", "path"), CLIENT)
    def test_refuses_reviewers_on_client_routes(self, live: Live, method: str, path: str) -> None:
        assert call(live, method, path, live.callers.reviewer) == 403

    @pytest.mark.parametrize(("method", "path"), REVIEWER)
    def test_refuses_clients_on_reviewer_routes(self, live: Live, method: str, path: str) -> None:
        assert call(live, method, path, live.callers.client) == 403
        assert call(live, method, path, live.callers.reviewer) not in (401, 403, 422)

    @pytest.mark.parametrize(("method", "path"), GUARDED)
    def test_lets_admins_in_everywhere(self, live: Live, method: str, path: str) -> None:
        assert call(live, method, path, live.callers.admin) not in (401, 403, 422)

    def test_says_how_to_authenticate(self, live: Live) -> None:
        response = live.http.get("/v1/models")
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert response.json()["error"]["type"] == "authentication_error"


class TestCheckRoutesDeclareAccess:
    def test_refuses_a_route_that_declares_nothing(self) -> None:
        router = APIRouter()
        router.get("/v1/secret")(lambda: {})
        with pytest.raises(RuntimeError, match="/v1/secret"):
            create_app(routers=[router])

    def test_refuses_a_route_that_is_not_fastapis(self) -> None:
        app = create_app()
        app.router.routes.append(Route("/hidden", PlainTextResponse("x")))
        with pytest.raises(RuntimeError, match="/hidden"):
            check_routes_declare_access(app)
