"""One chat request from its body to the row that records it; the responses are in `replies`."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass, field

from api.errors import InvalidRequest, UnknownModel
from api.schemas.chat import DEFAULT_TEMPERATURE, DEFAULT_TOP_P, ChatCompletionCreate, Usage
from api.schemas.model import PRODUCTION, build_model_name
from api.services import Services
from data.vocabulary import Message
from db.base import new_id
from db.completions import create_completion, ensure_conversation
from serving.chat import Reply
from serving.engine import Sampling

DISCONNECT = "disconnect"  # the finish reason of a reply whose client went away
_GREEDY_BELOW = 0.01  # a temperature that would overflow when the engine divides by it


@dataclass(frozen=True)
class Exchange:
    """A request and its reply on the way. Whoever holds it reads the reply to its end, or closes it."""

    services: Services
    key_id: str
    request: ChatCompletionCreate
    sampling: Sampling
    reply: Reply
    completion_id: str = field(default_factory=lambda: new_id("chatcmpl"))
    created_s: int = field(default_factory=lambda: int(time.time()))
    started_s: float = field(default_factory=time.monotonic)

    @property
    def model_name(self) -> str:
        """What wrote the reply; the alias when nothing is loaded."""
        return build_model_name(self.reply.version) if self.reply.digest else PRODUCTION

    @property
    def headers(self) -> dict[str, str]:
        """The headers that name the weights; none when nothing is loaded."""
        if not self.reply.digest:
            return {}
        return {"X-Ratchet-Version": str(self.reply.version), "X-Ratchet-Digest": self.reply.digest}

    @property
    def finish_reason(self) -> str:
        """How the reply ended; only a client that goes away has its reply cancelled."""
        reason = self.reply.result.finish_reason
        return DISCONNECT if reason == "cancelled" else reason

    def build_usage(self) -> Usage:
        """The token counts of the reply, which has ended."""
        prompt, reply = self.reply.prompt_tokens, self.reply.result.reply_tokens
        return Usage(
            prompt_tokens=prompt,
            completion_tokens=reply,
            total_tokens=prompt + reply,
            dropped_turns=self.reply.dropped_turns,
        )

    def record(self) -> None:
        """Commit the completion of the reply, which has ended, so that it can be rated."""
        request, reply, result = self.request, self.reply, self.reply.result
        wanted = request.metadata.conversation_id if request.metadata else None
        with self.services.database.transaction() as session:
            conversation = ensure_conversation(session, self.key_id, wanted, request.user)
            create_completion(
                session,
                completion_id=self.completion_id,
                key_id=self.key_id,
                conversation_id=conversation.id,
                messages=list_messages(request),
                reply=result.text,
                version_number=reply.version if reply.digest else None,
                digest=reply.digest or None,
                sampling=dataclasses.asdict(self.sampling),
                finish_reason=self.finish_reason,
                prompt_tokens=reply.prompt_tokens,
                reply_tokens=result.reply_tokens,
                is_crisis=reply.is_crisis,
                latency_s=time.monotonic() - self.started_s,
            )
        tokens = self.services.metrics.tokens
        tokens.labels("prompt").inc(reply.prompt_tokens)
        tokens.labels("reply").inc(result.reply_tokens)


def begin_exchange(services: Services, key_id: str, request: ChatCompletionCreate) -> Exchange:
    """Let the model begin to answer.

    Raises:
        InvalidRequest: the request asks for what we do not do.
        UnknownModel: it asks for another model than the one that answers. A crisis is answered all the same.
        RatchetError: see `ChatService.answer`.
    """
    _check_request(request)
    started_s = time.monotonic()
    sampling = build_sampling(request, services.settings.max_reply_tokens)
    reply = services.chat.answer(list_messages(request), sampling)
    exchange = Exchange(services, key_id, request, sampling, reply, started_s=started_s)
    if not reply.is_crisis and request.model not in (None, PRODUCTION, exchange.model_name):
        reply.close()
        raise UnknownModel(
            f"The model {request.model!r} is not served; ask for {PRODUCTION!r} or {exchange.model_name!r}.",
            param="model",
        )
    return exchange


def list_messages(request: ChatCompletionCreate) -> list[Message]:
    """The turns of the request."""
    return [message.to_message() for message in request.messages]


def build_sampling(request: ChatCompletionCreate, max_reply_tokens: int) -> Sampling:
    """How tokens are to be drawn, with our defaults where the request is silent."""
    temperature = DEFAULT_TEMPERATURE if request.temperature is None else request.temperature
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    wanted_tokens = request.max_completion_tokens or request.max_tokens or max_reply_tokens
    return Sampling(
        max_tokens=min(wanted_tokens, max_reply_tokens),
        temperature=0.0 if temperature < _GREEDY_BELOW else temperature,
        top_p=DEFAULT_TOP_P if request.top_p is None else request.top_p,
        stop=tuple(stop),
    )


def _check_request(request: ChatCompletionCreate) -> None:
    for param in ("tools", "functions", "logit_bias"):
        if getattr(request, param):
            raise InvalidRequest(f"{param} is not supported; send the request without it.", param)
    if request.n is not None and request.n > 1:
        raise InvalidRequest("n above 1 is not supported; send the request once for each reply.", "n")
    if request.messages[-1].role != "user":
        raise InvalidRequest("The last message must be from the user, for that is what is answered.", "messages")
