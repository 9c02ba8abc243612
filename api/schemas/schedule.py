"""The schedule of runs."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from api.schemas.fields import STRICTLY_NUMBER, Count, Schema, example
from data.vocabulary import ScheduleMode

_LONGEST_S = 366 * 86_400


class ScheduleUpdate(Schema):
    """When runs start by themselves, and what becomes of a version that passes the gate."""

    model_config = example(interval_s=86_400, min_ratings=50, mode="approve")

    interval_s: Annotated[int, Field(ge=0, le=_LONGEST_S), STRICTLY_NUMBER] = Field(
        description="Seconds between runs; 0 for only when asked."
    )
    min_ratings: Count = Field(
        description="Ratings that a run waits for, new since the last run that neither failed nor was cancelled."
    )
    mode: ScheduleMode = Field(description="`approve`: a version that passes waits for an admin to promote it.")


class Schedule(Schema):
    """The schedule as it is."""

    model_config = example(
        interval_s=86_400, min_ratings=50, mode="approve", updated_at_s=1790000000.5, updated_by="key-77aa"
    )

    interval_s: float
    min_ratings: int
    mode: ScheduleMode
    updated_at_s: float | None = Field(description="Seconds since 1970; null while nobody has set it.")
    updated_by: str | None = Field(description="The key that set it.")
