"""Health and readiness."""

from __future__ import annotations

from typing import Literal

from api.schemas.fields import Schema, example


class Health(Schema):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(Schema):
    """Requests are answered, by this version."""

    model_config = example(status="ready", version=7, model="ratchet-v7", digest="9b2e")

    status: Literal["ready"] = "ready"
    version: int
    model: str
    digest: str
