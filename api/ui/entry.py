"""The doors of the pages: signing in and out, and the upload of the dashboard; none is in the OpenAPI document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, FastAPI, Form, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader
from pydantic import TypeAdapter, ValidationError

from api.auth import PUBLIC
from api.routes.examples import read_upload
from api.schemas.example import ExampleImport
from api.schemas.fields import EndUser
from api.services import Services, ServicesDep
from api.ui.access import SIGN_IN
from api.ui.assets import HEAD
from api.ui.guards import ADMIN_SESSION, SAME_SITE
from api.ui.mount import Pages, run_pages
from api.ui.sessions import Session, Sessions, open_sessions
from data.errors import RatchetError
from data.vocabulary import KeyRole
from db.keys import ensure_visitor_key

IMPORT = "/dashboard/import"
_HOMES = {KeyRole.CLIENT: "/", KeyRole.REVIEWER: "/review", KeyRole.ADMIN: "/dashboard"}
_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
)
_NO_KEY = "This key is unknown or was revoked; ask whoever runs Ratchet for a new one."
_WRONG_ROLE = "That page takes a key of another role; sign in with one."

router = APIRouter(include_in_schema=False)
_templates = Environment(loader=FileSystemLoader(Path(__file__).parent / "static"), autoescape=True)


def add_pages(app: FastAPI) -> None:
    """Put the pages and their doors on the app."""
    app.include_router(router)
    app.add_middleware(Pages)


@asynccontextmanager
async def open_pages(app: FastAPI, services: Services) -> AsyncIterator[None]:
    """While this is open, the pages of the app are alive."""
    app.state.sessions = open_sessions(services.settings)
    if services.settings.visitor_chat:
        with services.database.transaction() as session:
            ensure_visitor_key(session)
    async with run_pages(services):
        yield


@router.get(SIGN_IN, dependencies=[PUBLIC])
def show_sign_in(request: Request, next: str = "", why: str = "") -> Response:
    """The form."""
    return _render(request, next, _WRONG_ROLE if why == "role" else "")


@router.post(SIGN_IN, dependencies=[PUBLIC, SAME_SITE])
def sign_in(
    request: Request,
    services: ServicesDep,
    key: Annotated[str, Form(max_length=200)] = "",
    name: Annotated[str, Form(max_length=200)] = "",
    next: Annotated[str, Form(max_length=500)] = "",
) -> Response:
    """Begin a session of the key's holder."""
    found = services.keys.find(key.strip())
    if found is None:
        return _render(request, next, _NO_KEY, status=401)
    try:
        user = TypeAdapter(EndUser).validate_python(name.strip() or found.name or found.role.value)
    except (ValidationError, RatchetError):
        return _render(request, next, "Choose another name: up to 128 characters, and not one of an expert.", 422)
    return _leave(request, _find_target(next, found.role), _get_sessions(request).begin(found, user))


@router.post("/sign-out", dependencies=[PUBLIC, SAME_SITE])
def sign_out(request: Request) -> Response:
    """End the session of this browser."""
    return _leave(request, SIGN_IN, None)


@router.post(IMPORT, dependencies=[ADMIN_SESSION])
async def import_file(request: Request, services: ServicesDep) -> ExampleImport:
    """Import examples, as `POST /v1/admin/examples` does."""
    return await read_upload(request, services)


def _render(request: Request, target: str, problem: str, status: int = 200) -> Response:
    visitors = request.app.state.services.settings.visitor_chat
    page = _templates.get_template("sign_in.html.jinja").render(
        head=HEAD, problem=problem, target=target, visitors=visitors
    )
    headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
    return HTMLResponse(page, status, headers=headers)


def _leave(request: Request, target: str, session: Session | None) -> Response:
    cookie = _get_sessions(request).build_cookie(session, is_secure=request.url.scheme == "https")
    return RedirectResponse(target, status_code=303, headers={"Set-Cookie": cookie, "Cache-Control": "no-store"})


def _find_target(wanted: str, role: KeyRole) -> str:
    """Where to go after signing in: the page that was asked for if it is one of ours, else the role's own."""
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\")) and wanted != "/"
    return wanted if is_ours else _HOMES[role]


def _get_sessions(request: Request) -> Sessions:
    sessions: Sessions = request.app.state.sessions
    return sessions
