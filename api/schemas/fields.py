"""Field types and the base class that all schemas share."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

from fastapi import Path
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, Strict

from data.cleaning import check_text
from db.reviews import REVIEWER_PREFIX

Item = TypeVar("Item")


def _check_end_user(name: str) -> str:
    """`name`, unless it would pass for an expert.

    Raises:
        ValueError: it begins as the raters of reviews do.
    """
    if name.startswith(REVIEWER_PREFIX):
        raise ValueError(f"An end user's name must not begin with {REVIEWER_PREFIX!r}, which marks experts.")
    return name


def _refuse_lookalike(value: object) -> object:
    """`value`, unless pydantic would only by courtesy read it as a number.

    Raises:
        ValueError: it is `true`, `false` or text.
    """
    if isinstance(value, bool | str):
        raise ValueError("Input should be a number, without quotes")
    return value


def _drop_blank(text: str | None) -> str | None:
    return text if text and text.strip() else None


# For numbers in a body of JSON; behind the bounds, or OpenAPI would not show them.
STRICTLY_NUMBER = BeforeValidator(_refuse_lookalike)
Count = Annotated[int, Field(ge=1, le=2**31 - 1), STRICTLY_NUMBER]
Boolean = Annotated[bool, Strict()]
Text = Annotated[str, AfterValidator(check_text)]  # text that every store can hold
LONGEST_TEXT = 50_000  # characters of a message or a reply; to normalise marks may take the square of their number
LongText = Annotated[str, Field(max_length=LONGEST_TEXT), AfterValidator(check_text)]
BetterReply = Annotated[LongText | None, AfterValidator(_drop_blank)]  # a form may be blank
Identifier = Annotated[Text, Field(min_length=1, max_length=128)]
EndUser = Annotated[Identifier, AfterValidator(_check_end_user)]  # whom a client's product serves
RaterName = Annotated[Text, AfterValidator(_check_end_user)]  # in a query, where it may be empty
PathIdentifier = Annotated[str, Path(max_length=128), AfterValidator(check_text)]
VersionNumber = Annotated[int, Path(ge=0, le=2**31 - 1, description="Number of the version; 0 is the base model.")]


class Schema(BaseModel):
    """A schema; it can be read from a row of the database. Unknown members are ignored."""

    model_config = ConfigDict(from_attributes=True)


class Listing(Schema, Generic[Item]):
    """A list of things, newest first."""

    data: list[Item]


class Page(Listing[Item], Generic[Item]):
    """A part of a list of things, newest first."""

    next_cursor: str | None = Field(description="Send it as `cursor` to get the next page; null on the last.")


def example(**members: Any) -> ConfigDict:
    """The configuration of a schema with this example in its documentation."""
    return ConfigDict(json_schema_extra={"examples": [members]})
