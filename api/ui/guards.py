"""Guards of the pages' doors: the browser's session in place of a key, and no request from another site's page."""

# No deferred annotations: FastAPI cannot resolve those of a callable object.
from dataclasses import dataclass
from urllib.parse import urlsplit

from fastapi import Depends, Request

from api.auth import RoleGuard, admit
from api.errors import RoleForbidden
from api.services import ServicesDep
from api.ui.sessions import COOKIE
from data.vocabulary import KeyRole
from db.models import ApiKey


class ForeignPage(RoleForbidden):
    """Another site's page has sent this; use the page of this server."""


def check_same_site(request: Request) -> None:
    """Refuse what another site's page sends with this browser's cookie.

    Raises:
        ForeignPage: the browser says that it comes from elsewhere.
    """
    site, origin = request.headers.get("sec-fetch-site"), request.headers.get("origin")
    if site is None and origin is not None:  # browsers leave the first out where the connection is not secure
        site = "same-origin" if urlsplit(origin).netloc == request.headers.get("host") else "cross-site"
    if site not in (None, "same-origin", "none"):
        raise ForeignPage


@dataclass(frozen=True)
class SessionGuard(RoleGuard):
    """Lets signed-in holders of keys of one role through; declares the access of a route as `RoleGuard` does."""

    def __call__(self, request: Request, services: ServicesDep) -> ApiKey:  # type: ignore[override]
        """The key of the session.

        Raises:
            ForeignPage, Unauthenticated, RoleForbidden, RateLimited: see `check_same_site` and `api.auth.admit`.
        """
        check_same_site(request)
        session = request.app.state.sessions.read(request.cookies.get(COOKIE, ""))
        return admit(services, services.keys.find_by_id(session.key_id) if session else None, self.role)


ADMIN_SESSION = Depends(SessionGuard(KeyRole.ADMIN))
SAME_SITE = Depends(check_same_site)
