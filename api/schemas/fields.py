"""Field types and the base class that all schemas share."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from fastapi import Path
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from data.cleaning import check_text

Item = TypeVar("Item")

Text = Annotated[str, AfterValidator(check_text)]  # text that every store can hold
Identifier = Annotated[Text, Field(min_length=1, max_length=128)]
PathIdentifier = Annotated[str, Path(max_length=128), AfterValidator(check_text)]
VersionNumber = Annotated[int, Path(ge=0, le=2**31 - 1, description="Number of the version; 0 is the base model.")]


class Schema(BaseModel):
    """A schema; it can be read from a row of the database. Unknown members are ignored."""

    model_config = ConfigDict(from_attributes=True)


class Listing(Schema, Generic[Item]):
    """A list of things, newest first."""

    data: list[Item]


def example(**members: Any) -> ConfigDict:
    """The configuration of a schema with this example in its documentation."""
    return ConfigDict(json_schema_extra={"examples": [members]})
