"""From errors to HTTP: one table, and the problem document that every failed request gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from sqlalchemy import exc
from starlette.exceptions import HTTPException

from api.logs import log
from api.schemas.problem import Problem, ProblemError, ProblemItem
from data.errors import Conflict, InvalidDataset, InvalidRecipe, InvalidText, NotFound, RatchetError
from serving.errors import (
    EngineOverloaded,
    EngineStopped,
    EngineUnavailable,
    InvalidPrompt,
    ModelNotReady,
    PromptTooLong,
)

MEDIA_TYPE = "application/problem+json"
_MAX_PROBLEMS = 20


class Unauthenticated(RatchetError):
    """Send a valid API key as `Authorization: Bearer KEY`; this one is missing, unknown or revoked."""


class RoleForbidden(RatchetError):
    """The role of this API key does not allow this call; use a key with another role."""


class RateLimited(RatchetError):
    """Too many requests with this key; wait for the seconds in Retry-After, then send fewer at a time."""

    def __init__(self, message: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s

    def __reduce__(self) -> tuple[type[RateLimited], tuple[str, int]]:
        return (self.__class__, (self.message, self.retry_after_s))


class TooManyReplies(RatchetError):
    """Too many replies are on their way to this key; wait until one has ended."""


class InvalidRequest(RatchetError, ValueError):
    """The request cannot be served as it is.

    `param` is the member of the request that is at fault.
    """

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param

    def __reduce__(self) -> tuple[type[InvalidRequest], tuple[str, str]]:
        return (self.__class__, (self.message, self.param))


class UnknownModel(InvalidRequest):
    """The model that the request asks for is not the one that answers."""


class WatchEnded(RatchetError):
    """This server follows production no longer, for the thread that did ended in an error; restart it."""


@dataclass(frozen=True)
class Rule:
    """How one class of errors is shown; without `detail` the error's own sentence is."""

    status: int
    code: str
    detail: str | None = None
    retry_after_s: int | None = None


_DATABASE_DOWN = Rule(
    503, "database_unavailable", "The database does not answer; try again in a few seconds.", retry_after_s=2
)
_INTERNAL = Rule(500, "internal_error", "Something went wrong on our side; quote the X-Request-Id to report it.")

_RULES: dict[type[Exception], Rule] = {
    Unauthenticated: Rule(401, "invalid_api_key"),
    RoleForbidden: Rule(403, "role_forbidden"),
    NotFound: Rule(404, "not_found"),
    UnknownModel: Rule(404, "model_not_found"),
    Conflict: Rule(409, "conflict"),
    InvalidRequest: Rule(400, "unsupported_parameter"),
    InvalidDataset: Rule(400, "invalid_dataset"),
    InvalidRecipe: Rule(400, "invalid_recipe"),
    InvalidText: Rule(400, "invalid_text"),
    InvalidPrompt: Rule(400, "invalid_prompt"),
    PromptTooLong: Rule(400, "context_length_exceeded"),
    RateLimited: Rule(429, "rate_limited"),
    TooManyReplies: Rule(429, "too_many_replies", retry_after_s=2),
    EngineOverloaded: Rule(429, "overloaded", retry_after_s=2),
    EngineStopped: Rule(503, "shutting_down", retry_after_s=5),
    EngineUnavailable: Rule(
        503,
        "engine_unavailable",
        "The engine that writes the replies does not answer; try again in a few seconds.",
        retry_after_s=5,
    ),
    ModelNotReady: Rule(503, "model_not_ready", retry_after_s=5),
    WatchEnded: Rule(503, "watch_ended"),
    exc.OperationalError: _DATABASE_DOWN,
    exc.InterfaceError: _DATABASE_DOWN,
    exc.TimeoutError: _DATABASE_DOWN,
    RequestValidationError: Rule(422, "invalid_shape", "The request does not have the shape that it should have."),
}
_PHRASES = {413: "Content Too Large", 422: "Unprocessable Content"}  # which Python has named twice
_OPENAI_TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def build_problem(error: Exception) -> Problem:
    """The problem document of an error; one that is not in the table shows nothing of itself."""
    rule = find_rule(error)
    items = _list_items(error)
    detail = rule.detail or str(error.args[0])
    if isinstance(error, RequestValidationError):
        detail = f"{detail.removesuffix('.')}: {items[0].where}: {items[0].reason}."
    kind = "server_error" if rule.status >= 500 else _OPENAI_TYPES.get(rule.status, "invalid_request_error")
    param = getattr(error, "param", None)
    return Problem(
        type=f"urn:ratchet:{rule.code}",
        title=_phrase(rule.status),
        status=rule.status,
        detail=detail,
        problems=items,
        error=ProblemError(message=detail, type=kind, code=rule.code, param=param),
    )


def find_rule(error: Exception) -> Rule:
    """The rule for the nearest class of the error that has one."""
    if isinstance(error, HTTPException):
        code = _phrase(error.status_code).lower().replace(" ", "_")
        return Rule(error.status_code, code, error.detail)
    return next((_RULES[kind] for kind in type(error).__mro__ if kind in _RULES), _INTERNAL)


def render_error(error: Exception) -> JSONResponse:
    """The response to a request that ended in this error."""
    rule = find_rule(error)
    headers = dict(getattr(error, "headers", None) or {})  # such as Allow
    if rule.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    retry_after_s = getattr(error, "retry_after_s", rule.retry_after_s)
    if retry_after_s:
        headers["Retry-After"] = str(retry_after_s)
    content = build_problem(error).model_dump(mode="json")
    return JSONResponse(content, rule.status, headers, media_type=MEDIA_TYPE)


def add_error_handlers(app: FastAPI) -> None:
    """Show the errors of the table by it; any other reaches the outermost middleware."""
    for kind in (*_RULES, HTTPException):
        app.add_exception_handler(kind, _handle)


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The `responses` of a route that may fail with these statuses; where a key is asked for, its limits hold."""
    if HTTPStatus.UNAUTHORIZED in statuses:
        statuses = (*statuses, HTTPStatus.TOO_MANY_REQUESTS)
    return {status: {"model": Problem, "description": _phrase(status)} for status in statuses}


async def _handle(request: Request, error: Exception) -> JSONResponse:
    rule = find_rule(error)
    if rule.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        log.warning("request failed", action="request_failed", code=rule.code, error=type(error).__name__)
    response = render_error(error)
    if rule.status == HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = ", ".join(_list_methods(request))
    return response


def _list_methods(request: Request) -> list[str]:
    """Every method of the path that was asked for; the router names those of one route only."""
    path = request.scope["route"].path
    routes = iter_route_contexts(request.app.routes)
    return sorted(method for route in routes if route.path == path for method in route.methods or ())


def _list_items(error: Exception) -> list[ProblemItem]:
    """Each fault by its place; what the client sent is not repeated."""
    if isinstance(error, InvalidDataset):
        return [ProblemItem(where=f"line {item.line}", reason=item.reason) for item in error.problems]
    if isinstance(error, RequestValidationError):
        # A wrong type comes last: it may only be that the value was meant for the other alternative.
        faults: Sequence[Any] = sorted(error.errors(), key=lambda fault: fault.get("type", "").endswith("_type"))
        return [ProblemItem(where=_name_place(fault["loc"]), reason=fault["msg"]) for fault in faults[:_MAX_PROBLEMS]]
    return []


def _name_place(location: Sequence[str | int]) -> str:
    """Such as `body.messages.0.content`, without pydantic's names for the alternatives of a union."""
    return ".".join(str(part) for part in location if "[" not in str(part))


def _phrase(status: int) -> str:
    return _PHRASES.get(status) or HTTPStatus(status).phrase
