"""The two responses to a chat request: the whole reply as JSON, or a stream of events as OpenAI sends them.

The reply is owned by a context around the response, not by the generator that reads it: a generator that was never
started would never clean up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from api.completions import Exchange
from api.errors import build_problem
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
async def hold_reply(reply: Reply, receive: Receive) -> AsyncIterator[None]:
    """Stop generating as soon as the client goes away, and in any case at the end of the body."""

    async def wait_for_disconnect() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        reply.close()

    watcher = asyncio.create_task(wait_for_disconnect())
    try:
        yield
    finally:
        watcher.cancel()
        reply.close()


async def build_whole_response(exchange: Exchange, receive: Receive) -> Response:
    """The response with the whole reply, which is recorded."""
    async with hold_reply(exchange.reply, receive):
        async for _ in exchange.reply:
            pass
    await run_in_threadpool(exchange.record)
    message = AssistantMessage(content=exchange.reply.result.text)
    completion = ChatCompletion(
        id=exchange.completion_id,
        created=exchange.created_s,
        model=exchange.model_name,
        system_fingerprint=exchange.reply.digest or None,
        choices=[Choice(message=message, finish_reason=exchange.finish_reason)],
        usage=exchange.build_usage(),
    )
    return Response(completion.model_dump_json(), headers=exchange.headers, media_type="application/json")


class ReplyStream(StreamingResponse):
    """The reply as server-sent events, piece by piece."""

    def __init__(self, exchange: Exchange) -> None:
        headers = {**exchange.headers, "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(_stream_events(exchange), headers=headers, media_type="text/event-stream")
        self._reply = exchange.reply

    async def __call__(self, _: Scope, receive: Receive, send: Send) -> None:
        """Send the events."""
        async with hold_reply(self._reply, receive):
            await self.stream_response(send)


async def _stream_events(exchange: Exchange) -> AsyncIterator[str]:
    """The events; the completion is committed before the one that ends the reply."""
    yield _build_event(_build_chunk(exchange, Delta(role="assistant", content="")))
    try:
        async for piece in exchange.reply:
            yield _build_event(_build_chunk(exchange, Delta(content=piece)))
        await run_in_threadpool(exchange.record)
    except (RatchetError, SQLAlchemyError, RuntimeError, ValueError) as error:  # too late for a status
        log.error("stream broke", action="stream_failed", error=type(error).__name__)
        yield f"data: {build_problem(error).model_dump_json(include={'error'})}\n\n"
        return
    yield _build_event(_build_chunk(exchange, Delta(), finish_reason=exchange.finish_reason))
    if exchange.request.stream_options and exchange.request.stream_options.include_usage:
        yield _build_event(_build_usage_chunk(exchange, exchange.build_usage()))
    yield "data: [DONE]\n\n"


def _build_chunk(exchange: Exchange, delta: Delta, finish_reason: str | None = None) -> ChatCompletionChunk:
    return ChatCompletionChunk(
        id=exchange.completion_id,
        created=exchange.created_s,
        model=exchange.model_name,
        system_fingerprint=exchange.reply.digest or None,
        choices=[ChunkChoice(delta=delta, finish_reason=finish_reason)],
    )


def _build_usage_chunk(exchange: Exchange, usage: Usage) -> ChatCompletionChunk:
    return _build_chunk(exchange, Delta()).model_copy(update={"choices": [], "usage": usage})


def _build_event(event: BaseModel) -> str:
    return f"data: {event.model_dump_json()}\n\n"
