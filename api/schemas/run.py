"""Runs: attempts to improve."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from api.schemas.fields import Schema, example
from data.vocabulary import RunStatus


class RunCreate(Schema):
    """What an admin wants of a run."""

    model_config = example(recipe={"trainable": "last:8", "preference_epochs": 2})

    recipe: dict[str, Any] = Field({}, description="Fields of the recipe; those left out keep their defaults.")


class Run(Schema):
    """One attempt to improve. Times are seconds since 1970."""

    model_config = example(
        id="run-5f0c",
        status="training",
        trigger="admin",
        recipe={"trainable": "last:8"},
        attempt=1,
        progress={"stage": "supervised", "step": 40, "of": 120, "loss": 2.1, "tokens_per_s": 1080.5, "eta_s": 95.0},
        cancel_requested=False,
        reason=None,
        snapshot_id="snapshot-77aa",
        version_number=None,
        created_at_s=1790000000.5,
        started_at_s=1790000001.5,
        finished_at_s=None,
    )

    id: str
    status: RunStatus
    trigger: str = Field(description="What asked for it: admin, schedule, command_line, erasure or exclusion.")
    recipe: dict[str, Any]
    attempt: int = Field(description="How many times a worker has taken it up.")
    progress: dict[str, Any] | None = Field(
        description="The trainer's last word: stage, step, of, loss, tokens_per_s, eta_s; null what it does not know."
    )
    cancel_requested: bool
    reason: str | None = Field(description="Why it ended as it did.")
    snapshot_id: str | None
    version_number: int | None = Field(description="The version that it made.")
    created_at_s: float
    started_at_s: float | None
    finished_at_s: float | None
