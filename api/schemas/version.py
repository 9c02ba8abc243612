"""Versions: registered artifacts."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.schemas.fields import Schema, example


class Version(Schema):
    """A registered artifact; number 0 is the base model."""

    model_config = example(
        number=7,
        digest="9b2e",
        base_model="gpt2",
        run_id="run-5f0c",
        is_production=True,
        awaits_approval=False,
        created_at_s=1790000000.5,
    )

    number: int
    digest: str
    base_model: str
    run_id: str | None = Field(description="The run that made it.")
    is_production: bool
    awaits_approval: bool = Field(
        description="It passed the gate against what is in production, and waits for an admin to promote it."
    )
    created_at_s: float = Field(description="Seconds since 1970.")


class VersionDetail(Version):
    """A version with its evaluation."""

    report: dict[str, Any] | None = Field(description="What the trainer measured against production.")
