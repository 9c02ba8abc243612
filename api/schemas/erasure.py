"""Erasures of end users."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, Field

from api.schemas.fields import Schema, example
from data.cleaning import check_text
from data.vocabulary import RunStatus

EndUser = Annotated[
    str,
    Path(min_length=1, max_length=128, description="As named by `user` when chatting and rating."),
    AfterValidator(check_text),
]


class Erasure(Schema):
    """The receipt of an erasure, as it stands now; it does not name the end user."""

    model_config = example(
        id="erasure-8d20",
        counts={"conversations": 2, "completions": 9, "feedback": 5, "snapshot_rows": 12},
        marked_versions=[6, 7],
        in_service=[7],
        retrain_run_id="run-61be",
        retrain_status="training",
        retrain_pending=False,
        created_at_s=1790000000.5,
        finished_at_s=1790000014.0,
    )

    id: str
    counts: dict[str, int] = Field(description="Rows that were deleted, by table.")
    marked_versions: list[int] = Field(description="Versions whose snapshots held some of the rows.")
    in_service: list[int] = Field(description="The marked versions that are in production; none when all is done.")
    retrain_run_id: str | None = Field(description="The run without the rows; none if no version held any.")
    retrain_status: RunStatus | None
    retrain_pending: bool = Field(description="The run follows when one that drew on the rows has let go.")
    created_at_s: float = Field(description="Seconds since 1970.")
    finished_at_s: float | None = Field(description="When their bytes had left the database and the files of runs.")
