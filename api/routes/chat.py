"""Chat completions."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from api.auth import ClientKey
from api.completions import begin_exchange
from api.errors import describe_problems
from api.replies import ReplyStream, build_whole_response
from api.schemas.chat import ChatCompletion, ChatCompletionCreate
from api.services import ServicesDep

router = APIRouter(tags=["chat"])

_EVENT = {
    "type": "object",
    "properties": {
        "data": {"type": "string", "description": "A `chat.completion.chunk` as JSON; the last is `[DONE]`."}
    },
    "required": ["data"],
}
_ID = "$response.body#/id"
_LINKS = {
    "rate": {"operationId": "create_feedback", "requestBody": {"completion_id": _ID, "rating": "up"}},
    "read the rating": {"operationId": "read_feedback", "parameters": {"completion_id": _ID}},
    "take the rating back": {"operationId": "remove_feedback", "parameters": {"completion_id": _ID}},
    "review": {"operationId": "create_review", "parameters": {"completion_id": _ID}},
    "trace": {"operationId": "trace", "parameters": {"subject": _ID}},
    "read the conversation": {
        "operationId": "read_conversation",
        "parameters": {"conversation_id": "$request.body#/metadata/conversation_id"},
    },
    "erase the end user": {"operationId": "erase", "parameters": {"user": "$request.body#/user"}},
}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The reply; with `stream`, events as OpenAI sends them.",
        "content": {"text/event-stream": {"itemSchema": _EVENT}},
        "links": _LINKS,
        "headers": {
            "X-Ratchet-Version": {"schema": {"type": "integer"}, "description": "The version that wrote it."},
            "X-Ratchet-Digest": {"schema": {"type": "string"}, "description": "The digest of its artifact."},
        },
    },
    **describe_problems(400, 401, 403, 404, 409, 413, 422, 429, 503),
}


@router.post("/v1/chat/completions", response_model=ChatCompletion, responses=_RESPONSES)
async def create_chat_completion(
    request: Request, body: ChatCompletionCreate, key: ClientKey, services: ServicesDep
) -> Response:
    """Answer the last message of a conversation, as OpenAI's API does.

    A message that signals a crisis is answered with where to find help, not by the model. With `n` above 1 rate each
    reply by `completion_id` and `choice`; of two that a rater puts up and down, training learns a preference.
    """
    exchange = await run_in_threadpool(begin_exchange, services, key, body)
    if body.stream:
        return ReplyStream(exchange)
    return await build_whole_response(exchange, request.receive)
