"""API keys and roles: each route declares who may call it, and the app does not start with one that does not."""

# No deferred annotations: FastAPI cannot resolve those of a callable object.
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, FastAPI, Security
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from api.errors import RoleForbidden, Unauthenticated
from api.services import Services, ServicesDep
from data.vocabulary import KeyRole
from db.models import ApiKey

_bearer = HTTPBearer(auto_error=False, scheme_name="API key", description="`ratchet keys create --role ROLE`")
_DOCUMENTATION = frozenset({"/openapi.json", "/docs"})  # FastAPI's own, open to all


@dataclass(frozen=True)
class RoleGuard:
    """Lets keys of one role through within their rate, and admins everywhere."""

    role: KeyRole

    def __call__(
        self,
        services: ServicesDep,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)],
    ) -> ApiKey:
        """The caller's key.

        Raises:
            Unauthenticated: there is none, or it is unknown or was revoked (`KeyRing` tells when).
            RoleForbidden: it has another role.
            RateLimited: it was used too often of late.
        """
        key = services.keys.find(credentials.credentials) if credentials else None
        return admit(services, key, self.role)


def admit(services: Services, key: ApiKey | None, role: KeyRole) -> ApiKey:
    """The key, if its holder may do now what takes that role; the one rule for HTTP calls and for pages.

    Raises:
        Unauthenticated: there is no key.
        RoleForbidden: it has another role, and is no admin's.
        RateLimited: it was used too often of late.
    """
    if key is None:
        raise Unauthenticated
    if key.role not in (role, KeyRole.ADMIN):
        raise RoleForbidden
    services.limits.take_request(key)
    return key


def public() -> None:
    """Declares, as a dependency, that a route needs no key."""


ClientKey = Annotated[ApiKey, Depends(RoleGuard(KeyRole.CLIENT))]
AdminKey = Annotated[ApiKey, Depends(RoleGuard(KeyRole.ADMIN))]
ReviewerKey = Annotated[ApiKey, Depends(RoleGuard(KeyRole.REVIEWER))]
CLIENTS_ONLY = Depends(RoleGuard(KeyRole.CLIENT))
ADMINS_ONLY = Depends(RoleGuard(KeyRole.ADMIN))
REVIEWERS_ONLY = Depends(RoleGuard(KeyRole.REVIEWER))
PUBLIC = Depends(public)


def check_routes_declare_access(app: FastAPI) -> None:
    """Refuse an app with a route that declares neither a role nor that it is public.

    Raises:
        RuntimeError: there is one; the message names it.
    """
    for context in iter_route_contexts(app.routes):
        is_declared = (
            _declares_access(context.dependant)
            if isinstance(context.original_route, APIRoute)
            else context.path in _DOCUMENTATION
        )
        if not is_declared:
            raise RuntimeError(f"The route {context.path} declares no access; give it a role, or `PUBLIC`.")


def _declares_access(dependant: Dependant) -> bool:
    calls = [dependency.call for dependency in dependant.dependencies]
    return public in calls or any(isinstance(call, RoleGuard) for call in calls)
