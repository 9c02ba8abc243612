"""Imports of examples."""

from __future__ import annotations

from pydantic import Field

from api.schemas.fields import Schema, example


class ExampleImport(Schema):
    """What became of an uploaded file."""

    model_config = example(rows_read=153, imported=150, already_there=1, dropped={"duplicate": 2})

    rows_read: int
    imported: int
    already_there: int = Field(description="Examples that an earlier import brought.")
    dropped: dict[str, int] = Field(description="Rows left out, by reason: empty or duplicate.")
