"""Promotions: moves of the production pointer."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from api.schemas.fields import Schema, example
from data.cleaning import check_text

# Constraints after a validator would not stand in the OpenAPI: clients would not know that blanks are no reason.
Reason = Annotated[str, Field(pattern=r"\S", min_length=1, max_length=2000), AfterValidator(check_text)]


class PromotionCreate(Schema):
    """A promotion by hand, past the gate; so it needs a reason."""

    model_config = example(reason="Two experts read 50 replies side by side.")

    reason: Reason


class RollbackCreate(Schema):
    """Back to the version before."""

    model_config = example(reason="Replies became too long.")

    reason: Reason = "Rolled back by an admin."


class Promotion(Schema):
    """One move of the production pointer."""

    model_config = example(
        id=9,
        version_number=7,
        previous_version=6,
        kind="manual",
        reason="Two experts read 50 replies side by side.",
        actor="key-77aa",
        run_id=None,
        created_at_s=1790000000.5,
    )

    id: int
    version_number: int
    previous_version: int | None
    kind: str = Field(description="initial, gate, manual or rollback.")
    reason: str
    actor: str = Field(description="The key or the part of the system that moved it.")
    run_id: str | None
    created_at_s: float = Field(description="Seconds since 1970.")
