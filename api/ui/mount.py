"""Puts the pages in front of the app: which requests are theirs, whose session it is, and what scripts may do."""

from __future__ import annotations

import logging
import secrets
import traceback
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path

from fastapi import FastAPI
from nicegui import App, ui
from nicegui import app as nicegui_app
from starlette.datastructures import MutableHeaders
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import HTTPConnection
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.logs import log
from api.services import Services
from api.ui.access import SCOPE_KEY, check_pages_declare_access, list_page_paths
from api.ui.assets import HEAD, add_style_route
from api.ui.frame import show_crash
from api.ui.sessions import COOKIE, Sessions
from settings import Settings

_RECONNECT_S = 10.0  # a browser that is away longer has left
_FAVICON = Path(__file__).parent / "static" / "favicon.svg"
_FRAMEWORK_PREFIX = "/_nicegui"
_FAVICON_PATH = "/favicon.ico"

# NiceGUI 3 compiles templates and handlers in the browser, so scripts need 'unsafe-eval'; Quasar writes styles into
# the page, so those are open. Inline scripts run with the nonce of their response only: what somebody wrote never does.
_POLICY = (
    "default-src 'none'; script-src 'self' 'nonce-{nonce}' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors 'none'"
)


@lru_cache
def build_pages() -> App:
    """NiceGUI's app with all pages; there is one in a process, so it is made once.

    Raises:
        RuntimeError: a page declares no access.
    """
    from api.ui import chat, data, overview, report, review, runs, versions  # noqa: F401 they declare the pages

    add_style_route()
    check_pages_declare_access()
    ui.add_head_html(HEAD, shared=True)
    logging.getLogger("nicegui").setLevel(logging.CRITICAL + 1)  # it would log what people wrote; errors: `_log_error`
    nicegui_app.on_exception(_log_error)
    nicegui_app.on_page_exception(show_crash)
    ui.run_with(
        FastAPI(),  # where it would be mounted, but `Pages` does that: its start would visit every object there is
        title="Ratchet",
        favicon=_FAVICON,
        dark=None,
        language="en-US",
        reconnect_timeout=_RECONNECT_S,
        binding_refresh_interval=None,
        tailwind=False,
        gzip_middleware_factory=None,
        show_welcome_message=False,
    )
    return nicegui_app


class Pages:
    """Answers what is asked of pages, and passes everything else on as it came."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._pages = GZipMiddleware(_Nonces(build_pages()), minimum_size=500, compresslevel=4)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if not _is_for_pages(scope):
            return await self._app(scope, receive, send)
        if scope["type"] == "http" and not scope["path"].startswith(_FRAMEWORK_PREFIX):
            send = self._find_session(scope, send)
        return await self._pages(scope, receive, send)

    def _find_session(self, scope: Scope, send: Send) -> Send:
        """Leave the browser's session in the scope; a visitor's begins here, with its cookie."""
        connection = HTTPConnection(scope)
        sessions: Sessions = scope["app"].state.sessions
        scope[SCOPE_KEY] = sessions.read(connection.cookies.get(COOKIE, ""))
        settings: Settings = scope["app"].state.services.settings
        if scope[SCOPE_KEY] is not None or scope["path"] != "/" or not settings.visitor_chat:
            return send
        scope[SCOPE_KEY] = session = sessions.begin_visit()
        cookie = sessions.build_cookie(session, is_secure=connection.url.scheme == "https")

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("Set-Cookie", cookie)
            await send(message)

        return send_marked


class _Nonces:
    """Sets the policy of each page, and marks the scripts that the page itself brings.

    What people wrote stands in a page escaped, so that no `<script` in it can be theirs.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        nonce = secrets.token_urlsafe(16)
        start: Message | None = None
        body = bytearray()

        async def send_marked(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["Content-Security-Policy"] = _POLICY.format(nonce=nonce)
                headers["Referrer-Policy"] = "same-origin"  # without any, forms would come from nowhere
                if headers.get("content-type", "").startswith("text/html"):
                    start = message
                    return
            elif start is not None:
                body.extend(message.get("body", b""))
                if message.get("more_body"):
                    return
                page = bytes(body).replace(b"<script", b'<script nonce="%s"' % nonce.encode())
                MutableHeaders(scope=start)["content-length"] = str(len(page))
                await send(start)
                message = {**message, "body": page}
            await send(message)

        await self._app(scope, receive, send_marked)


@asynccontextmanager
async def run_pages(services: Services) -> AsyncIterator[None]:
    """While this is open, pages are alive and work with these services; one app of a process at a time."""
    pages = build_pages()
    pages.state.services = services
    async with pages.router.lifespan_context(pages):
        yield


def _is_for_pages(scope: Scope) -> bool:
    if scope["type"] not in ("http", "websocket"):
        return False
    path = scope["path"]
    if path.startswith(_FRAMEWORK_PREFIX) or path == _FAVICON_PATH:
        return True
    if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
        return False
    return any(route.matches(scope)[0] is Match.FULL for route in _list_page_routes())


@lru_cache
def _list_page_routes() -> list[BaseRoute]:
    paths = set(list_page_paths())
    return [route for route in nicegui_app.routes if getattr(route, "path", None) in paths]


def _log_error(error: Exception) -> None:
    frames = traceback.format_tb(error.__traceback__)
    log.error("page crashed", action="page_crashed", error=type(error).__name__, frames=frames)
