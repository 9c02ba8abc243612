"""Conversations and the replies served in them."""

from __future__ import annotations

from pydantic import Field

from api.schemas.chat import Turn
from api.schemas.feedback import Feedback
from api.schemas.fields import Schema, example


class Completion(Schema):
    """One reply that was served, and what raters said of it."""

    id: str
    messages: list[Turn] = Field(description="The turns before the reply.")
    reply: str
    version_number: int | None = Field(description="The version that wrote it; null when no model did.")
    finish_reason: str
    is_crisis: bool
    created_at_s: float
    feedback: list[Feedback]


class Conversation(Schema):
    """A conversation, in pages of its replies, oldest first. Times are seconds since 1970."""

    model_config = example(
        id="chat-42",
        end_user="end-user-17",
        created_at_s=1790000000.5,
        completions=[
            {
                "id": "chatcmpl-5f0c",
                "messages": [{"role": "user", "content": "I cannot sleep before exams."}],
                "reply": "What keeps you awake?",
                "version_number": 7,
                "finish_reason": "stop",
                "is_crisis": False,
                "created_at_s": 1790000000.5,
                "feedback": [],
            }
        ],
        next_cursor=None,
    )

    id: str
    end_user: str | None
    created_at_s: float
    completions: list[Completion]
    next_cursor: str | None = Field(description="Send it as `cursor` to get the next page; null on the last.")
