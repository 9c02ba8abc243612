"""The FastAPI app: routes, middleware and what lives as long as it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.utils import get_openapi

from api.auth import check_routes_declare_access
from api.errors import MEDIA_TYPE, add_error_handlers
from api.logs import configure_logs
from api.metrics import Metrics
from api.middleware import BodyLimit, RequestEdge
from api.pauses import PausedKeys
from api.routes import (
    admin_feedback,
    chat,
    conversations,
    end_users,
    examples,
    feedback,
    health,
    lineage,
    models,
    promotions,
    raters,
    reviews,
    run_events,
    runs,
    schedule,
    versions,
)
from api.services import open_services
from api.traces import TraceRequests, build_provider
from data.unpacking import MAX_PACKED_BYTES
from serving.slot import LoadHandle
from settings import Settings

API_VERSION = "1"
BODY_LIMIT_BYTES = 1_000_000
_UPLOADS = (examples.PATH, "/dashboard/import")
_MULTIPART_BYTES = 100_000  # borders and headers around an uploaded file

_ROUTERS = (
    chat.router,
    models.router,
    feedback.router,
    conversations.router,
    runs.router,
    run_events.router,
    versions.router,
    promotions.router,
    schedule.router,
    reviews.router,
    examples.router,
    admin_feedback.router,
    lineage.router,
    end_users.router,
    raters.router,
    health.router,
)
_DESCRIPTION = """Turns thumbs into better weights, and only ever forwards.

Chat with `POST /v1/chat/completions`, as with OpenAI's API, and rate replies with `POST /v1/feedback`. An admin
starts runs and moves production under `/v1/admin`; experts review replies under `/v1/reviews`. Every failed request
gets a problem document; a key that asks too much gets 429 and `Retry-After`."""


def create_app(
    settings: Settings | None = None, routers: Sequence[APIRouter] = _ROUTERS, load: LoadHandle | None = None
) -> FastAPI:
    """The app; the database, the model and the watch on production are opened when it starts.

    `load` makes of an artifact what answers; None: what the settings say.

    Raises:
        RuntimeError: a route declares no access.
    """
    configure_logs()
    settings = settings or Settings()
    metrics = Metrics()
    traces = build_provider(settings.otlp_endpoint) if settings.otlp_endpoint else None

    @asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[None]:
        with open_services(settings, metrics, load) as services:
            app.state.services = services
            async with open_pages(app, services) if settings.pages else nullcontext():
                yield
        if traces:
            traces.shutdown()

    app = FastAPI(
        title="Ratchet",
        generate_unique_id_function=lambda route: route.name,
        description=_DESCRIPTION,
        version=API_VERSION,
        lifespan=live,
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
    )
    for router in routers:
        app.include_router(router)
    if settings.pages:
        from api.ui.entry import add_pages, open_pages  # takes a second, and an API alone needs none of it

        add_pages(app)
    check_routes_declare_access(app)
    add_error_handlers(app)
    upload_bytes = MAX_PACKED_BYTES + _MULTIPART_BYTES
    app.add_middleware(BodyLimit, limit_bytes=BODY_LIMIT_BYTES, exceptions=dict.fromkeys(_UPLOADS, upload_bytes))
    app.add_middleware(PausedKeys)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PUT", "DELETE"],
            allow_headers=["*"],  # OpenAI's SDKs send a dozen of their own; a listed origin may send any
            expose_headers=["Retry-After", "X-Request-Id", "X-Ratchet-Version", "X-Ratchet-Digest"],
        )
    app.add_middleware(RequestEdge, metrics=metrics)  # the last one is the outermost
    if traces:
        app.add_middleware(TraceRequests, provider=traces)
    app.openapi = partial(_build_openapi, app)  # type: ignore[method-assign]
    return app


def _build_openapi(app: FastAPI) -> dict[str, Any]:
    """FastAPI's document, in which errors have their own media type; made once."""
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        for operations in document["paths"].values():
            for operation in operations.values():
                for status, response in operation["responses"].items():
                    if int(status) >= 400:
                        response["content"] = {MEDIA_TYPE: response["content"]["application/json"]}
        app.openapi_schema = document
    return app.openapi_schema
