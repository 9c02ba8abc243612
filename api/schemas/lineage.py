"""Lineage: where a reply comes from, and where feedback went."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Path, Query
from pydantic import Field

from api.schemas.fields import Schema, example
from data.vocabulary import RowKind, RunStatus, Split

Subject = Annotated[
    str,
    Path(
        max_length=128,
        pattern=r"^(chatcmpl-[0-9A-Za-z_-]+|(ratchet-v)?[0-9]{1,9}|feedback:[0-9]{1,9})$",
        description="A completion `chatcmpl-…`, a version `7` or `ratchet-v7`, or feedback `feedback:12`.",
        examples=["ratchet-v7"],
    ),
]
Cursor = Annotated[
    str | None,
    Query(pattern=r"^[0-9]{1,9}:[a-z]+:[0-9A-Za-z_-]{1,64}$", description="`next_cursor` of the page before this one."),
]
Limit = Annotated[int, Query(ge=1, le=1000, description="Rows on a page.")]


class LineageCompletion(Schema):
    """A reply, without its text."""

    id: str
    conversation_id: str
    version_number: int | None = Field(description="The version that wrote it; none if no model did.")
    digest: str | None = Field(description="Of the artifact that wrote it.")
    created_at_s: float


class LineageVersion(Schema):
    """A version with what it was made from; the base model has no run and no snapshot."""

    number: int
    digest: str
    base_model: str
    run_id: str | None
    run_status: RunStatus | None
    recipe: dict[str, Any] | None
    snapshot_id: str | None
    snapshot_digest: str | None
    counts: dict[Split, dict[RowKind, int]] = Field(description="Rows of the snapshot by split and kind.")
    erasure_ids: list[str] = Field(description="Erasures of rows that the snapshot held before.")


class LineageRow(Schema):
    """A row of the snapshot behind a version."""

    version_number: int
    row_id: str
    kind: RowKind
    split: Split
    completion_id: str | None = Field(description="The reply that it was drawn from; none for an example.")


class Lineage(Schema):
    """The versions behind the subject, or shaped by it, and the rows that they share with it."""

    model_config = example(
        completion={
            "id": "chatcmpl-9c1e",
            "conversation_id": "conv-31",
            "version_number": 7,
            "digest": "9b2e",
            "created_at_s": 1790000000.5,
        },
        versions=[
            {
                "number": 7,
                "digest": "9b2e",
                "base_model": "gpt2",
                "run_id": "run-5f0c",
                "run_status": "succeeded",
                "recipe": {"trainable": "last:8"},
                "snapshot_id": "snapshot-77aa",
                "snapshot_digest": "41d0",
                "counts": {"train": {"example": 900, "reply": 120}, "holdout": {"reply": 40}},
                "erasure_ids": [],
            }
        ],
        rows=[
            {
                "version_number": 7,
                "row_id": "feedback:12",
                "kind": "reply",
                "split": "train",
                "completion_id": "chatcmpl-02ab",
            }
        ],
        next_cursor="7:feedback:12",
    )

    completion: LineageCompletion | None = Field(description="When the subject is one.")
    versions: list[LineageVersion] = Field(
        description="Of a completion the version that wrote it; of feedback each version whose snapshot holds it."
    )
    rows: list[LineageRow] = Field(description="Of feedback only its own rows, else all that the version drew on.")
    next_cursor: str | None = Field(description="The `cursor` of the next page; none on the last one.")
