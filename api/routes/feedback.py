"""Feedback: a client rates the replies that were served to it."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Response, status
from sqlalchemy.orm import Session

from api.auth import ClientKey
from api.completions import build_choice_id
from api.errors import describe_problems
from api.schemas.feedback import ChoiceIndex, Feedback, FeedbackCreate
from api.schemas.fields import PathIdentifier, RaterName
from api.services import ServicesDep
from db.completions import get_end_user
from db.feedback import FeedbackValues, delete_feedback, get_feedback, put_feedback

ANONYMOUS = "anonymous"

Rater = Annotated[RaterName | None, Query(max_length=128, description="The rater, as when rating; no expert.")]

router = APIRouter(tags=["feedback"], responses=describe_problems(401, 403, 404, 422, 503))


@router.post(
    "/v1/feedback",
    status_code=status.HTTP_201_CREATED,
    responses={
        200: {"model": Feedback, "description": "The rater's earlier feedback is the same, or was replaced."},
        **describe_problems(400, 413),
    },
)
def create_feedback(body: FeedbackCreate, key: ClientKey, services: ServicesDep, response: Response) -> Feedback:
    """Rate a reply. Of each rater a reply has one feedback: the last one. The same again changes nothing."""
    values = FeedbackValues(
        rater_kind=body.rater_kind,
        rating=body.rating,
        reasons=tuple(body.reasons),
        comment=body.comment,
        correction=body.correction,
        scores=body.scores.model_dump(exclude_none=True),
    )
    with services.database.transaction() as session:
        completion_id = build_choice_id(body.completion_id, body.choice)
        rater = _find_rater(session, completion_id, key.id, body.user)
        row, is_first = put_feedback(session, completion_id, rater, values)
        feedback = Feedback.model_validate(row)
    response.status_code = status.HTTP_201_CREATED if is_first else status.HTTP_200_OK
    return feedback


@router.get("/v1/feedback/{completion_id}")
def read_feedback(
    completion_id: PathIdentifier,
    key: ClientKey,
    services: ServicesDep,
    user: Rater = None,
    choice: ChoiceIndex = 0,
) -> Feedback:
    """What a rater said of a reply."""
    completion_id = build_choice_id(completion_id, choice)
    with services.database.reading() as session:
        rater = _find_rater(session, completion_id, key.id, user)
        return Feedback.model_validate(get_feedback(session, completion_id, rater))


@router.delete("/v1/feedback/{completion_id}", status_code=status.HTTP_204_NO_CONTENT)
def remove_feedback(
    completion_id: PathIdentifier,
    key: ClientKey,
    services: ServicesDep,
    user: Rater = None,
    choice: ChoiceIndex = 0,
) -> None:
    """Take back what a rater said of a reply, with all that the rater said before."""
    completion_id = build_choice_id(completion_id, choice)
    with services.database.transaction() as session:
        delete_feedback(session, completion_id, _find_rater(session, completion_id, key.id, user))


def _find_rater(session: Session, completion_id: str, key_id: str, user: str | None) -> str:
    """Who rates: the user named, else the end user of the conversation.

    Raises:
        NotFound: the completion was not served to that key.
    """
    end_user = get_end_user(session, completion_id, key_id)
    return user or end_user or ANONYMOUS
