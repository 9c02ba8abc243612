"""The two responses to a chat request: the replies whole as JSON, or a stream of events as OpenAI sends them.

The exchange is owned by a context around the response, not by the generator that reads it: a generator that was never
started would never clean up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Response
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from api.completions import Exchange, find_finish_reason
from api.errors import build_problem
from api.events import build_event
from api.logs import log
from api.schemas.chat import (
    AssistantMessage,
    ChatCompletion,
    ChatCompletionChunk,
    Choice,
    ChunkChoice,
    Delta,
    Usage,
)
from data.errors import RatchetError
from serving.chat import Reply


@asynccontextmanager
async def hold_exchange(exchange: Exchange, receive: Receive) -> AsyncIterator[None]:
    """Stop generating as soon as the client goes away, and in any case at the end of the body."""

    async def wait_for_disconnect() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        exchange.close()

    watcher = asyncio.create_task(wait_for_disconnect())
    try:
        yield
    finally:
        watcher.cancel()
        exchange.close()
        if exchange.open_replies.is_open:  # nothing was recorded
            await run_in_threadpool(exchange.open_replies.close)


async def build_whole_response(exchange: Exchange, receive: Receive) -> Response:
    """The response with the whole replies, which are recorded (see `Exchange.record`)."""
    async with hold_exchange(exchange, receive):
        for reply in exchange.replies:
            async for _ in reply:
                pass
        await run_in_threadpool(exchange.record)
    completion = ChatCompletion(
        id=exchange.completion_id,
        created=exchange.created_s,
        model=exchange.model_name,
        system_fingerprint=exchange.digest,
        choices=[_build_choice(index, reply) for index, reply in enumerate(exchange.replies)],
        usage=exchange.build_usage(),
    )
    return Response(completion.model_dump_json(), headers=exchange.headers, media_type="application/json")


class ReplyStream(StreamingResponse):
    """The replies as server-sent events, piece by piece and one after another."""

    def __init__(self, exchange: Exchange) -> None:
        headers = {**exchange.headers, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(_stream_events(exchange), headers=headers, media_type="text/event-stream")
        self._exchange = exchange

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        async with hold_exchange(self._exchange, receive):
            await self.stream_response(send)


async def _stream_events(exchange: Exchange) -> AsyncIterator[str]:
    """The events; the completions are committed (see `Exchange.record`) before those that end the replies."""
    replies = list(enumerate(exchange.replies))
    for index, _ in replies:
        yield build_event(_build_chunk(exchange, index, Delta(role="assistant", content="")))
    try:
        for index, reply in replies:
            async for piece in reply:
                yield build_event(_build_chunk(exchange, index, Delta(content=piece)))
        await run_in_threadpool(exchange.record)
    except (RatchetError, SQLAlchemyError, RuntimeError, ValueError) as error:  # too late for a status
        log.error("stream broke", action="stream_failed", error=type(error).__name__)
        yield build_event(build_problem(error), include={"error"})
        return
    for index, reply in replies:
        yield build_event(_build_chunk(exchange, index, Delta(), find_finish_reason(reply)))
    if exchange.request.stream_options and exchange.request.stream_options.include_usage:
        yield build_event(_build_usage_chunk(exchange, exchange.build_usage()))
    yield "data: [DONE]\n\n"


def _build_choice(index: int, reply: Reply) -> Choice:
    message = AssistantMessage(content=reply.result.text)
    return Choice(index=index, message=message, finish_reason=find_finish_reason(reply))


def _build_chunk(exchange: Exchange, index: int, delta: Delta, finish_reason: str | None = None) -> ChatCompletionChunk:
    return ChatCompletionChunk(
        id=exchange.completion_id,
        created=exchange.created_s,
        model=exchange.model_name,
        system_fingerprint=exchange.digest,
        choices=[ChunkChoice(index=index, delta=delta, finish_reason=finish_reason)],
    )


def _build_usage_chunk(exchange: Exchange, usage: Usage) -> ChatCompletionChunk:
    return _build_chunk(exchange, 0, Delta()).model_copy(update={"choices": [], "usage": usage})
