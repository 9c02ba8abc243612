"""Answers a key that asks too often from memory: before its body is read, and without a thread, database or store."""

from __future__ import annotations

import asyncio

from fastapi.security.utils import get_authorization_scheme_param
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from api.errors import MEDIA_TYPE, RateLimited, render_error
from api.middleware import NOT_LOGGED
from api.services import Services

_PATHS = "/v1/"  # all else needs no key
_HOLD_S = 0.25  # a client that asks again at once is slowed to four refusals a second and connection
_BODY = bytes(render_error(RateLimited()).body)  # made once, for it is always the same


class PausedKeys:
    """Refuses with 429 what a key asks until the end of its pause, which `Limits` has begun, and takes its time.

    A refusal costs little, but a client that asks again at once would have the whole processor with any: the cheaper
    they are, the more it sends. A held one costs a timer.

    What needs a look at the database (a key not seen of late) or at the route (its role) goes on to the guard of the
    route. In a pause 429 comes before 403 and 404.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"].startswith(_PATHS):
            try:
                _check_pause(scope)
            except RateLimited as error:
                scope[NOT_LOGGED] = True  # the beginning of the pause was, and a metric counts
                await asyncio.sleep(_HOLD_S)
                headers = {"Retry-After": str(error.retry_after_s)}
                return await Response(_BODY, 429, headers, MEDIA_TYPE)(scope, receive, send)
        return await self._app(scope, receive, send)


def _check_pause(scope: Scope) -> None:
    """Raises RateLimited while the caller's key is paused."""
    services: Services = scope["app"].state.services
    scheme, secret = get_authorization_scheme_param(Headers(scope=scope).get("authorization"))
    key = services.keys.find_known(secret) if scheme.lower() == "bearer" else None
    if key is not None:
        services.limits.check_pause(key)
