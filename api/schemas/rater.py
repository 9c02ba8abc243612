"""Raters, how far they are believed, and exclusions."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import AfterValidator, Field

from api.schemas.fields import Schema, example
from api.schemas.promotion import Reason
from data.cleaning import check_text
from data.vocabulary import RunStatus

RaterName = Annotated[
    str,
    Path(min_length=1, max_length=128, description="As named by `user` when rating, or `reviewer:` and a key's id."),
    AfterValidator(check_text),
]


class RaterExclude(Schema):
    """Why a rater's rows shall be left out."""

    model_config = example(reason="Pushes a made-up remedy in every conversation.")

    reason: Reason


class RaterExclusion(Schema):
    """The receipt of an exclusion, as it stands now."""

    model_config = example(
        id="exclusion-3f1c",
        rater="user-17",
        reason="Pushes a made-up remedy in every conversation.",
        actor="key-77aa",
        marked_versions=[6, 7],
        in_service=[7],
        retrain_run_id="run-61be",
        retrain_status="training",
        retrain_pending=False,
        created_at_s=1790000000.5,
        admitted_at_s=None,
        admitted_by=None,
    )

    id: str
    rater: str = Field(description="The name; once the rater was erased, `erased:` and a salted hash of it.")
    reason: str = Field(description="Empty once the rater was erased.")
    actor: str = Field(description="The key, or the command line, that excluded the rater.")
    marked_versions: list[int] = Field(description="Versions whose snapshots held rows of the rater.")
    in_service: list[int] = Field(description="The marked versions that are in production; none when all is done.")
    retrain_run_id: str | None = Field(description="The run without the rows; none if no version held any.")
    retrain_status: RunStatus | None
    retrain_pending: bool = Field(description="The run follows when one that drew on the rows has let go.")
    created_at_s: float = Field(description="Seconds since 1970.")
    admitted_at_s: float | None = Field(description="When the rater was admitted again; none while excluded.")
    admitted_by: str | None


class Rater(Schema):
    """One rater; `weight` is 0 (no better than chance) to 1, and 1 where there is little to judge by."""

    model_config = example(
        rater="user-17",
        kind="end_user",
        ups=9,
        downs=2,
        weight=0.21,
        compared=11.0,
        agreed=3.0,
        is_quarantined=True,
        exclusion_id=None,
        first_at_s=1790000000.5,
        last_at_s=1790000700.5,
    )

    rater: str
    kind: str = Field(description="end_user, reviewer or simulated.")
    ups: int
    downs: int
    weight: float | None = Field(description="Null for reviewers and for excluded raters, who are not weighed.")
    compared: float = Field(description="Comparisons with experts (1 each) and with majorities of others (0.5 each).")
    agreed: float = Field(description="How many of these agreed.")
    is_quarantined: bool = Field(description="The rows are left out because the weight is so low.")
    exclusion_id: str | None = Field(description="The exclusion in force.")
    first_at_s: float = Field(description="Seconds since 1970.")
    last_at_s: float = Field(description="Seconds since 1970.")
