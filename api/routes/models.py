"""Models, as OpenAI's API lists them."""

from __future__ import annotations

from fastapi import APIRouter

from api.auth import CLIENTS_ONLY
from api.errors import describe_problems
from api.schemas.model import PRODUCTION, Model, ModelList, build_model_name
from api.services import ServicesDep
from db.versions import list_versions

router = APIRouter(tags=["chat"])


@router.get("/v1/models", dependencies=[CLIENTS_ONLY], responses=describe_problems(401, 403, 503))
def list_models(services: ServicesDep) -> ModelList:
    """The alias `production` and all versions. Only the version in production answers."""
    with services.database.reading() as session:
        versions = list_versions(session)
    models = [Model(id=build_model_name(item.number), created=int(item.created_at_s)) for item in versions]
    newest = max((model.created for model in models), default=0)
    return ModelList(data=[Model(id=PRODUCTION, created=newest), *models])
