"""From errors to problem documents."""

from __future__ import annotations

import json
import pickle

import pytest
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError, TimeoutError
from starlette.exceptions import HTTPException

from api.errors import (
    InvalidRequest,
    RateLimited,
    Unauthenticated,
    UnknownModel,
    build_problem,
    find_rule,
    render_error,
)
from data.errors import Conflict, InvalidDataset, NotFound, RowProblem
from serving.errors import ArtifactInvalid, EngineOverloaded, ModelNotReady

SECRET = "I feel alone."


class TestInvalidRequest:
    def test_crosses_processes(self) -> None:
        error = pickle.loads(pickle.dumps(UnknownModel("No.", "model")))
        assert (type(error), error.message, error.param) == (UnknownModel, "No.", "model")


class TestRateLimited:
    def test_crosses_processes_and_says_when_to_come_back(self) -> None:
        error = pickle.loads(pickle.dumps(RateLimited(retry_after_s=7)))
        response = render_error(error)
        assert (response.status_code, response.headers["Retry-After"]) == (429, "7")
        assert json.loads(bytes(response.body))["error"]["type"] == "rate_limit_error"


class TestFindRule:
    @pytest.mark.parametrize(
        ("error", "status"),
        [
            (Unauthenticated(), 401),
            (NotFound(), 404),
            (Conflict(), 409),
            (InvalidRequest("No.", "n"), 400),
            (UnknownModel("No.", "model"), 404),
            (EngineOverloaded(), 429),
            (ModelNotReady(), 503),
            (OperationalError("SELECT", {}, OSError()), 503),
            (TimeoutError(), 503),
            (HTTPException(405), 405),
            (ArtifactInvalid(), 500),
            (KeyError("x"), 500),
        ],
    )
    def test_gives_the_status(self, error: Exception, status: int) -> None:
        assert find_rule(error).status == status


class TestBuildProblem:
    def test_has_what_openais_sdk_reads(self) -> None:
        problem = build_problem(UnknownModel("No such model.", "model"))
        assert problem.detail == problem.error.message == "No such model."
        assert (problem.title, problem.type) == ("Not Found", "urn:ratchet:model_not_found")
        assert problem.error.model_dump() == {
            "message": "No such model.",
            "type": "invalid_request_error",
            "code": "model_not_found",
            "param": "model",
        }

    @pytest.mark.parametrize("error", [KeyError(SECRET), OperationalError(SECRET, {"x": SECRET}, OSError(SECRET))])
    def test_hides_what_is_inside(self, error: Exception) -> None:
        assert SECRET not in build_problem(error).model_dump_json()

    def test_names_places_without_repeating_the_input(self) -> None:
        location = ("body", "messages", 0, "content", "function-after[check_text(), str]")
        error = RequestValidationError([{"loc": location, "msg": "Field required", "input": SECRET}])
        problem = build_problem(error)
        assert problem.problems[0].where == "body.messages.0.content"
        assert problem.detail.endswith("body.messages.0.content: Field required.")
        assert SECRET not in problem.model_dump_json()

    def test_lists_the_lines_of_a_file(self) -> None:
        problem = build_problem(InvalidDataset("Two problems.", (RowProblem(2, "one"), RowProblem(3, "two"))))
        assert [(item.where, item.reason) for item in problem.problems] == [("line 2", "one"), ("line 3", "two")]


class TestRenderError:
    def test_asks_to_come_back(self) -> None:
        response = render_error(EngineOverloaded())
        assert response.status_code == 429
        assert response.headers["Retry-After"] == "2"
        assert response.headers["Content-Type"] == "application/problem+json"
        assert json.loads(bytes(response.body))["status"] == 429

    def test_keeps_the_headers_of_an_http_error(self) -> None:
        assert render_error(HTTPException(405, headers={"Allow": "GET"})).headers["Allow"] == "GET"
