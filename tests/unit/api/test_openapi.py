"""The committed OpenAPI document, and what it promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from api.app import create_app
from api.openapi import render_openapi

COMMITTED = Path(__file__).parents[3] / "openapi.json"
OPERATIONS = [
    pytest.param(operation, id=f"{method} {path}")
    for path, operations in create_app().openapi()["paths"].items()
    for method, operation in operations.items()
]


class TestRenderOpenapi:
    def test_is_what_is_committed(self) -> None:
        assert COMMITTED.read_text() == render_openapi(), "run `python -m api.openapi > openapi.json`"

    @pytest.mark.parametrize("operation", OPERATIONS)
    def test_describes_each_operation_and_its_errors(self, operation: dict[str, object]) -> None:
        assert operation["description"]
        for status, response in operation["responses"].items():  # type: ignore[attr-defined]
            if int(status) >= 400:
                assert list(response["content"]) == ["application/problem+json"]

    def test_gives_an_example_of_each_request(self) -> None:
        schemas = create_app().openapi()["components"]["schemas"]
        for name, schema in schemas.items():
            if name.endswith("Create"):
                assert schema["examples"], name
