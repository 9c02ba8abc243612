"""Models as OpenAI's API lists them, and how our versions are named there."""

from __future__ import annotations

from typing import Literal

from api.schemas.fields import Schema, example

PRODUCTION = "production"


def build_model_name(version: int) -> str:
    """The name of a version as a model."""
    return f"ratchet-v{version}"


class Model(Schema):
    """One name that a chat request may ask for."""

    model_config = example(id="ratchet-v7", object="model", created=1790000000, owned_by="ratchet")

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: Literal["ratchet"] = "ratchet"


class ModelList(Schema):
    """The alias of what is in production, then all versions, newest first. Only the one in production answers."""

    object: Literal["list"] = "list"
    data: list[Model]
