"""Reviews: experts judge and rewrite the replies that most need it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response, status
from pydantic import Field

from api.auth import REVIEWERS_ONLY, ReviewerKey
from api.errors import describe_problems
from api.schemas.fields import PathIdentifier, Text
from api.schemas.review import Review, ReviewAgreement, ReviewCreate, ReviewItem
from api.services import ServicesDep
from data.agreement import compute_alpha
from db.reviews import ReviewValues, find_next_review, list_shared_verdicts, put_review

MAX_SKIPPED = 100

Skipped = Annotated[
    tuple[Annotated[Text, Field(max_length=128)], ...],
    Query(max_length=MAX_SKIPPED, description="Completions that you do not want to review now."),
]

router = APIRouter(tags=["reviews"], responses=describe_problems(401, 403, 429, 503))


@router.get(
    "/v1/reviews/next",
    response_model=ReviewItem,
    responses={204: {"description": "Nothing is left for you to review."}, **describe_problems(422)},
)
def read_next_review(key: ReviewerKey, services: ServicesDep, skip: Skipped = ()) -> ReviewItem | Response:
    """The reply that most needs your review: flagged ones first, then those raters differ on, then any."""
    with services.database.reading() as session:
        item = find_next_review(session, key.id, services.settings.reviews_per_item, skip)
    if item is None:
        return Response(status_code=status.HTTP_204_NO_CONTENT)
    completion = item.completion
    return ReviewItem.model_validate(
        {**vars(completion), "completion_id": completion.id, "picked_because": item.picked_because}
    )


@router.get("/v1/reviews/agreement", dependencies=[REVIEWERS_ONLY])
def read_agreement(services: ServicesDep) -> ReviewAgreement:
    """How far experts agree, beyond chance, on the replies that several of them reviewed."""
    with services.database.reading() as session:
        verdicts = list_shared_verdicts(session)
    return ReviewAgreement(
        alpha=compute_alpha(verdicts),
        completions=len({completion_id for _, completion_id, _ in verdicts}),
        reviews=len(verdicts),
    )


@router.post(
    "/v1/reviews/{completion_id}",
    status_code=status.HTTP_201_CREATED,
    responses={
        200: {"model": Review, "description": "It took the place of your earlier review."},
        **describe_problems(400, 404, 413, 422),
    },
)
def create_review(
    completion_id: PathIdentifier, body: ReviewCreate, key: ReviewerKey, services: ServicesDep, response: Response
) -> Review:
    """Review a reply. Of each expert a reply has one review: the last one."""
    values = ReviewValues(
        verdict=body.verdict,
        scores=body.scores.model_dump(exclude_none=True),
        rewrite=body.rewrite,
        comment=body.comment,
    )
    with services.database.transaction() as session:
        row, is_first = put_review(session, completion_id, key.id, values)
        review = Review.model_validate(row)
    response.status_code = status.HTTP_201_CREATED if is_first else status.HTTP_200_OK
    return review
