"""Who may see a page: each declares its role, and the app does not start with one that does not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.responses import RedirectResponse
from nicegui import app as nicegui_app
from nicegui import ui
from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute

from api.auth import admit
from api.errors import RoleForbidden, Unauthenticated
from api.services import Services
from api.ui.sessions import Session
from data.errors import RatchetError
from data.vocabulary import KeyRole
from db.models import ApiKey

SIGN_IN = "/sign-in"
SCOPE_KEY = "ratchet.session"  # where `mount` leaves the session of a request
EXPECTED = (RatchetError, SQLAlchemyError, ValidationError)  # what pages show as a sentence
_OWN_PREFIX = "/_nicegui"
_OWN_PATHS = frozenset({"/favicon.ico"})
_BUILD_S = 10.0  # a page that takes longer to build is an error


@dataclass(frozen=True)
class Visit:
    """One browser's page: who is there, and what it works with."""

    services: Services
    session: Session
    role: KeyRole

    @property
    def is_admin(self) -> bool:
        """Whether everything is allowed."""
        return self.role is KeyRole.ADMIN

    async def admit(self, role: KeyRole) -> ApiKey:
        """The key, for one action that takes that role; asked anew each time, for sessions end and keys are revoked.

        Raises:
            Unauthenticated, RoleForbidden, RateLimited: see `api.auth.admit`.
        """
        return await run_in_threadpool(self.admit_now, role)

    def admit_now(self, role: KeyRole) -> ApiKey:
        """`admit` from a thread."""
        key = None if self.session.has_ended else self.services.keys.find_by_id(self.session.key_id)
        return admit(self.services, key, role)


Build = Callable[[Visit, Request], Awaitable[None]]
_pages: dict[str, KeyRole] = {}


def page(path: str, *, access: KeyRole, title: str) -> Callable[[Build], Build]:
    """Declares a page, who may see it, and the title of its window. Whoever may not is sent to sign in."""

    def declare(build: Build) -> Build:
        async def show(request: Request) -> Response | None:
            services: Services = request.app.state.services
            session: Session | None = request.scope.get(SCOPE_KEY)
            try:
                visit = await run_in_threadpool(_begin_visit, services, session, access)
            except (Unauthenticated, RoleForbidden) as error:
                why = "&why=role" if isinstance(error, RoleForbidden) else ""
                return RedirectResponse(f"{SIGN_IN}?next={quote(request.url.path)}{why}", status_code=303)
            await build(visit, request)
            return None

        show.__name__ = build.__name__
        ui.page(path, title=f"{title} · Ratchet", response_timeout=_BUILD_S)(show)
        _pages[path] = access
        return build

    return declare


def check_pages_declare_access(routes: Sequence[BaseRoute] | None = None) -> None:
    """Refuse pages that declare no access; the framework's own assets are open to all.

    Raises:
        RuntimeError: there is one; the message names it.
    """
    for route in nicegui_app.routes if routes is None else routes:
        path = getattr(route, "path", "")
        if path not in _pages and path not in _OWN_PATHS and not path.startswith(_OWN_PREFIX):
            raise RuntimeError(f"The page {path} declares no access; give it a role with `api.ui.access.page`.")


def list_page_paths() -> list[str]:
    """The paths of all pages, as patterns."""
    return list(_pages)


def _begin_visit(services: Services, session: Session | None, role: KeyRole) -> Visit:
    if session is None:
        raise Unauthenticated
    key = admit(services, services.keys.find_by_id(session.key_id), role)
    return Visit(services, session, key.role)
