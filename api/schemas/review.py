"""Reviews of completions by experts."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from api.schemas.chat import Turn
from api.schemas.feedback import Scores
from api.schemas.fields import BetterReply, Schema, Text, example
from data.vocabulary import ReviewVerdict


class ReviewItem(Schema):
    """A reply to review. What raters said of it is not shown, so that the review is independent."""

    model_config = example(
        completion_id="chatcmpl-5f0c",
        picked_because="flagged",
        messages=[{"role": "user", "content": "I cannot sleep before exams."}],
        reply="Just stop worrying.",
        version_number=7,
        is_crisis=False,
        created_at_s=1790000000.5,
    )

    completion_id: str
    picked_because: Literal["flagged", "disagreement", "random"] = Field(
        description="flagged: a crisis, rated down or scored unsafe; disagreement: rated up and down; or random."
    )
    messages: list[Turn] = Field(description="The turns before the reply.")
    reply: str
    version_number: int | None = Field(description="The version that wrote it; null when no model did.")
    is_crisis: bool
    created_at_s: float = Field(description="Seconds since 1970.")


class ReviewCreate(Schema):
    """What an expert thinks of a reply; it takes the place of what the same expert said of it before."""

    model_config = example(
        verdict="bad",
        scores={"empathy": 1, "relevance": 4, "coherence": 5, "safety": 4},
        rewrite="That sounds exhausting. What goes through your mind when you lie awake?",
        comment="It dismisses what the person feels.",
    )

    verdict: ReviewVerdict = Field(description="good counts as rated up, bad and harmful as rated down.")
    scores: Scores = Scores()
    rewrite: BetterReply = Field(
        None, description="What the reply should have been; runs learn from it, more than from others' corrections."
    )
    comment: Annotated[Text, Field(max_length=10_000)] | None = None


class Review(Schema):
    """What one expert says of one completion, as last said. Times are seconds since 1970."""

    model_config = example(
        id=3,
        completion_id="chatcmpl-5f0c",
        reviewer="key-77aa",
        verdict="bad",
        scores={"empathy": 1, "relevance": 4, "coherence": 5, "safety": 4},
        rewrite="That sounds exhausting. What goes through your mind when you lie awake?",
        comment="It dismisses what the person feels.",
        created_at_s=1790000000.5,
        updated_at_s=1790000000.5,
    )

    id: int
    completion_id: str
    reviewer: str = Field(description="The key of the expert.")
    verdict: ReviewVerdict
    scores: dict[str, int]
    rewrite: str | None
    comment: str | None
    created_at_s: float
    updated_at_s: float


class ReviewAgreement(Schema):
    """How far experts agree in their verdicts."""

    model_config = example(alpha=0.71, completions=40, reviews=83)

    alpha: float | None = Field(
        description="Krippendorff's alpha, nominal: 1 is full agreement, 0 is chance; "
        "null while no reply has two reviews, or while all verdicts on those that have are the same."
    )
    completions: int = Field(description="Replies with at least two reviews.")
    reviews: int = Field(description="Their reviews.")
