"""Conversations: a client reads back what was served to it."""

from __future__ import annotations

from operator import attrgetter

from fastapi import APIRouter

from api.auth import ClientKey
from api.errors import describe_problems
from api.pages import Cursor, PageLimit, cut_page
from api.schemas.conversation import Completion, Conversation
from api.schemas.fields import PathIdentifier
from api.services import ServicesDep
from data.vocabulary import KeyRole
from db.completions import get_conversation, list_completions
from db.feedback import list_feedback_on

router = APIRouter(tags=["chat"], responses=describe_problems(401, 403, 404, 422, 503))


@router.get("/v1/conversations/{conversation_id:name}")  # a client may name it with slashes
def read_conversation(
    conversation_id: PathIdentifier,
    key: ClientKey,
    services: ServicesDep,
    cursor: Cursor = None,
    limit: PageLimit = 50,
) -> Conversation:
    """One of your conversations, with its replies and their feedback; what experts said of them only admins see."""
    with services.database.reading() as session:
        conversation = get_conversation(session, key.id, conversation_id)
        rows = list_completions(session, conversation, limit + 1, cursor)
        completions, next_cursor = cut_page(rows, limit, attrgetter("id"))
        feedback = list_feedback_on(session, [row.id for row in completions], with_experts=key.role is KeyRole.ADMIN)
    return Conversation(
        id=conversation.id,
        end_user=conversation.end_user,
        created_at_s=conversation.created_at_s,
        completions=[
            Completion.model_validate(
                {**vars(row), "feedback": [item for item in feedback if item.completion_id == row.id]}
            )
            for row in completions
        ],
        next_cursor=next_cursor,
    )
