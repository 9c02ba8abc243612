"""Feedback on completions."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.schemas.chat import MAX_CHOICES, Turn
from api.schemas.fields import STRICTLY_NUMBER, BetterReply, EndUser, Identifier, Schema, Text, example
from data.vocabulary import Rating

_CHOICE = Field(ge=0, lt=MAX_CHOICES, description="Which reply, when `n` asked for several.")
ChoiceIndex = Annotated[int, _CHOICE]  # in a query
Score = Annotated[int, Field(ge=1, le=5), STRICTLY_NUMBER] | None


class Scores(Schema):
    """Marks from 1 (worst) to 5 (best); each may be left out."""

    empathy: Score = None
    relevance: Score = None
    coherence: Score = None
    safety: Score = None


class FeedbackCreate(Schema):
    """What a rater thinks of a reply; it takes the place of what the same rater said of it before."""

    model_config = example(
        completion_id="chatcmpl-5f0c",
        rating="down",
        reasons=["too short"],
        correction="That sounds exhausting. What keeps you awake?",
        scores={"empathy": 2, "safety": 5},
        user="end-user-17",
    )

    completion_id: Identifier
    choice: Annotated[int, _CHOICE, STRICTLY_NUMBER] = 0
    rating: Rating
    reasons: list[Annotated[Text, Field(min_length=1, max_length=200)]] = Field([], max_length=20)
    comment: Annotated[Text, Field(max_length=10_000)] | None = None
    correction: BetterReply = Field(None, description="What the reply should have been.")
    scores: Scores = Scores()
    user: EndUser | None = Field(
        None, description="Who rates; the end user of the completion's conversation when left out."
    )
    rater_kind: Literal["end_user", "simulated"] = Field(
        "end_user", description="`simulated` for a program that stands in for people in a benchmark or a demo."
    )


class Feedback(Schema):
    """What one rater says of one completion, as last said. Times are seconds since 1970."""

    model_config = example(
        completion_id="chatcmpl-5f0c",
        rater="end-user-17",
        rater_kind="end_user",
        rating="down",
        reasons=["too short"],
        comment=None,
        correction="That sounds exhausting. What keeps you awake?",
        scores={"empathy": 2, "safety": 5},
        times_given=1,
        created_at_s=1790000000.5,
        updated_at_s=1790000000.5,
    )

    completion_id: str
    rater: str
    rater_kind: str
    rating: Rating
    reasons: list[str]
    comment: str | None
    correction: str | None
    scores: dict[str, int]
    times_given: int = Field(description="1 until the rater thinks again.")
    created_at_s: float
    updated_at_s: float


class FeedbackRecord(Feedback):
    """Feedback with the reply that it is about."""

    model_config = example(
        id=12,
        completion_id="chatcmpl-5f0c",
        conversation_id="chat-42",
        version_number=7,
        messages=[{"role": "user", "content": "I cannot sleep before exams."}],
        reply="Try to relax.",
        rater="end-user-17",
        rater_kind="end_user",
        rating="down",
        reasons=["too short"],
        comment=None,
        correction="That sounds exhausting. What keeps you awake?",
        scores={"empathy": 2, "safety": 5},
        times_given=1,
        created_at_s=1790000000.5,
        updated_at_s=1790000000.5,
    )

    id: int
    conversation_id: str
    version_number: int | None = Field(description="The version that wrote the reply; null for crisis resources.")
    messages: list[Turn] = Field(description="The turns before the reply.")
    reply: str
