"""Health and readiness."""

from __future__ import annotations

from typing import Literal

from api.schemas.fields import Schema, example


class Health(Schema):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(Schema):
    """Requests are answered, by this version."""

    model_config = example(
        status="ready", version=7, model="ratchet-v7", digest="9b2e", production=7, is_fallback=False
    )

    status: Literal["ready"] = "ready"
    version: int
    model: str
    digest: str
    production: int | None  # where the pointer leads; another than `version` while that is loaded, or does not load
    is_fallback: bool  # production does not load: its artifact is missing or damaged
