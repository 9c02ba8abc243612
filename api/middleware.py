"""What wraps every request: a limit on its body, and the edge where ids, logs and metrics are made."""

from __future__ import annotations

import time
import traceback
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bound_contextvars

from api.errors import render_error
from api.logs import log
from api.metrics import Metrics
from db.base import new_id

NOT_LOGGED = "ratchet.not_logged"  # in the scope of a request that is counted only
_SERVER_ERROR = 500
_PROTECTION = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "frame-ancestors 'none'",
}


class BodyLimit:
    """Refuses a body above the limit with 413: at once when its length is declared, else at the byte too many.

    `exceptions` are the limits in bytes of single paths.
    """

    def __init__(self, app: ASGIApp, limit_bytes: int, exceptions: Mapping[str, int]) -> None:
        self._app = app
        self._limit_bytes = limit_bytes
        self._exceptions = exceptions

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        limit_bytes = self._exceptions.get(scope["path"], self._limit_bytes)
        error = HTTPException(413, f"The body is above {limit_bytes:,} bytes; send less at a time.")
        declared = Headers(scope=scope).get("content-length", "")
        if declared.isdecimal() and int(declared) > limit_bytes:
            return await render_error(error)(scope, receive, send)
        received_bytes = 0

        async def receive_limited() -> Message:
            nonlocal received_bytes
            message = await receive()
            received_bytes += len(message.get("body", b""))
            if received_bytes > limit_bytes:
                raise error
            return message

        return await self._app(scope, receive_limited, send)


class RequestEdge:
    """The outermost layer: gives the request an id, counts it, logs it, and lets no error past."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        request_id, started_s, status = new_id("req"), time.monotonic(), 0

        async def send_marked(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = request_id
                _protect(headers, scope["path"])
            await send(message)

        with bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, receive, send_marked)
            except Exception as error:  # the edge: nothing above could answer, and the texts in an error stay here
                frames = traceback.format_tb(error.__traceback__)
                log.error("crash", action="request_crashed", error=type(error).__name__, frames=frames)
                if not status:  # else the server notices that the response has no end, and hangs up
                    await render_error(error)(scope, receive, send_marked)
            finally:
                self._note(scope, status or _SERVER_ERROR, time.monotonic() - started_s)

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unknown")
        self._metrics.requests.labels(route, status).inc()
        self._metrics.latency.labels(route).observe(seconds)
        if NOT_LOGGED not in scope:
            log.info("request", action="request", method=scope["method"], route=route, status=status, seconds=seconds)


def _protect(headers: MutableHeaders, path: str) -> None:
    """Add the security headers that the response does not set itself."""
    for name, value in _PROTECTION.items():
        headers.setdefault(name, value)
    if path.startswith("/v1/"):
        headers.setdefault("Cache-Control", "no-store")
