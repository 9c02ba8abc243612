"""Errors as the client sees them: RFC 9457 problem details, with the member that OpenAI's SDK reads."""

from __future__ import annotations

from pydantic import Field

from api.schemas.fields import Schema, example


class ProblemError(Schema):
    """The error as OpenAI writes it."""

    message: str
    type: str
    code: str
    param: str | None = Field(description="The member of the request that is at fault.")


class ProblemItem(Schema):
    """One of several faults."""

    where: str = Field(description="Member of the request, or line of the file.")
    reason: str


class Problem(Schema):
    """Why a request failed, and what to do about it."""

    model_config = example(
        type="urn:ratchet:model_not_found",
        title="Not Found",
        status=404,
        detail="The model 'gpt-4' is not served; ask for 'production' or 'ratchet-v7'.",
        problems=[],
        error={
            "message": "The model 'gpt-4' is not served; ask for 'production' or 'ratchet-v7'.",
            "type": "invalid_request_error",
            "code": "model_not_found",
            "param": "model",
        },
    )

    type: str = Field(description="Names the kind of problem; stable.")
    title: str
    status: int
    detail: str = Field(description="One sentence for a person; it names the remedy.")
    problems: list[ProblemItem] = Field(description="Each fault, when there can be several.")
    error: ProblemError
