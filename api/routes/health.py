"""Whether the server lives, whether it answers, and its metrics; open to all."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from api.auth import PUBLIC
from api.errors import WatchEnded, describe_problems
from api.schemas.health import Health, Readiness
from api.schemas.model import build_model_name
from api.services import ServicesDep
from serving.errors import ModelNotReady

_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NOTHING_LOADS = (
    "Neither production nor a version before it loads; restore the folder of one from a backup (`ratchet doctor` says "
    "what is wrong with it)."
)

router = APIRouter(tags=["operation"])


@router.get("/healthz", dependencies=[PUBLIC])
def read_health() -> Health:
    """The process is alive."""
    return Health()


@router.get("/readyz", dependencies=[PUBLIC], responses=describe_problems(503))
def read_readiness(services: ServicesDep) -> Readiness:
    """The version that answers; 503 until one is loaded, and when later versions would not be."""
    if services.watch.has_ended:
        raise WatchEnded
    current = services.slot.current
    if current is None:
        raise ModelNotReady(_NOTHING_LOADS if services.watch.is_fallback else None)
    return Readiness(
        version=current.version,
        model=build_model_name(current.version),
        digest=current.digest,
        production=services.watch.production,
        is_fallback=services.watch.is_fallback,
    )


@router.get("/metrics", dependencies=[PUBLIC], response_class=PlainTextResponse)
def read_metrics(services: ServicesDep) -> Response:
    """Metrics in Prometheus' text format."""
    return Response(services.metrics.render(), media_type=_METRICS_TYPE)
