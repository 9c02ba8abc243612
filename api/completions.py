"""One chat request from its body to the rows that record it; the responses are in `replies`."""

from __future__ import annotations

import dataclasses
import time
from contextlib import ExitStack
from dataclasses import dataclass, field

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api.errors import InvalidRequest, UnknownModel
from api.limits import OpenReplies
from api.logs import log
from api.schemas.chat import DEFAULT_TEMPERATURE, DEFAULT_TOP_P, ChatCompletionCreate, Usage
from api.schemas.model import PRODUCTION, build_model_name
from api.services import Services
from data.errors import Conflict
from data.vocabulary import Message
from db.base import new_id
from db.completions import check_end_user, create_completion, ensure_conversation
from db.models import ApiKey
from serving.chat import Reply
from serving.engine import Sampling

DISCONNECT = "disconnect"  # the finish reason of a reply whose client went away
_GREEDY_BELOW = 0.01  # a temperature that would overflow when the engine divides by it
_LEAST_TOP_P = 1e-6  # leaves one token, as anything below; the engine would round that to a forbidden 0


@dataclass(frozen=True)
class Exchange:
    """A request and its replies on the way, one for each choice. Whoever holds it reads them to their end, or
    closes it."""

    services: Services
    key_id: str
    request: ChatCompletionCreate
    sampling: Sampling
    replies: list[Reply]  # all by the same weights
    open_replies: OpenReplies
    completion_id: str
    started_s: float
    created_s: int = field(default_factory=lambda: int(time.time()))

    @property
    def model_name(self) -> str:
        """What writes the replies; the alias when nothing is loaded."""
        return _name_model(self.replies[0])

    @property
    def digest(self) -> str | None:
        """The digest of the artifact that writes the replies; None when nothing is loaded."""
        return self.replies[0].digest or None

    @property
    def headers(self) -> dict[str, str]:
        """The headers that name the weights; none when nothing is loaded."""
        if not self.digest:
            return {}
        return {"X-Ratchet-Version": str(self.replies[0].version), "X-Ratchet-Digest": self.digest}

    def build_usage(self) -> Usage:
        """The token counts of the replies, which have ended."""
        prompt_tokens = self.replies[0].prompt_tokens
        reply_tokens = sum(reply.result.reply_tokens for reply in self.replies)
        return Usage(
            prompt_tokens=prompt_tokens,
            completion_tokens=reply_tokens,
            total_tokens=prompt_tokens + reply_tokens,
            dropped_turns=self.replies[0].dropped_turns,
        )

    def record(self) -> bool:
        """Commit the completions of the replies, which have ended, so that they can be rated.

        Returns:
            False for a crisis that the database did not take: the resources go out all the same, for whoever needs
            them must not wait for our records.

        Raises:
            SQLAlchemyError: the database cannot write; never for a crisis.
            Conflict: the conversation has become another end user's in the meantime; never for a crisis.
        """
        is_recorded = True
        try:
            self._create_completions()
        except SQLAlchemyError as error:
            if not self.replies[0].is_crisis:
                raise
            is_recorded = False
            log.error("crisis reply not recorded", action="crisis_unrecorded", error=type(error).__name__)
            self.services.metrics.unrecorded_crises.inc()
        usage, tokens = self.build_usage(), self.services.metrics.tokens
        tokens.labels("prompt").inc(usage.prompt_tokens)
        tokens.labels("reply").inc(usage.completion_tokens)
        self._count_safety()
        self.open_replies.close()
        return is_recorded

    def close(self) -> None:
        """Stop generating, where it still does; idempotent."""
        for reply in self.replies:
            reply.close()

    def _count_safety(self) -> None:
        metrics = self.services.metrics
        if crisis := self.replies[0].crisis:
            metrics.crises.labels(crisis.source, crisis.category).inc()
        for reply in self.replies:
            for rule in reply.result.filtered:
                metrics.filtered.labels(rule).inc()

    def _create_completions(self) -> None:
        with self.services.database.transaction() as session:
            conversation_id = self._ensure_conversation(session)
            for index, reply in enumerate(self.replies):
                self._create_completion(session, conversation_id, build_choice_id(self.completion_id, index), reply)

    def _ensure_conversation(self, session: Session) -> str:
        """The conversation of the request; for a crisis in another end user's a new one, so that it is recorded."""
        user = self.request.user
        try:
            return ensure_conversation(session, self.key_id, find_conversation_id(self.request), user)
        except Conflict:
            if not self.replies[0].is_crisis:
                raise
            return ensure_conversation(session, self.key_id, None, user)

    def _create_completion(self, session: Session, conversation_id: str, completion_id: str, reply: Reply) -> None:
        create_completion(
            session,
            completion_id=completion_id,
            key_id=self.key_id,
            conversation_id=conversation_id,
            messages=list_messages(self.request),
            reply=reply.result.text,
            version_number=reply.version if reply.digest else None,
            digest=reply.digest or None,
            sampling=dataclasses.asdict(self.sampling),
            finish_reason=find_finish_reason(reply),
            prompt_tokens=reply.prompt_tokens,
            reply_tokens=reply.result.reply_tokens,
            is_crisis=reply.is_crisis,
            latency_s=time.monotonic() - self.started_s,
        )


def begin_exchange(services: Services, key: ApiKey, request: ChatCompletionCreate) -> Exchange:
    """Let the model begin to answer. A crisis is answered though the model or the limit would forbid it.

    Raises:
        InvalidRequest: the request asks for what we do not do.
        UnknownModel: it asks for another model than the one that answers.
        Conflict: it names another end user than that of its conversation.
        TooManyReplies: too many are on their way to that key.
        RatchetError: see `ChatService.answer`.
    """
    _check_request(request)
    started_s, completion_id, count = time.monotonic(), new_id("chatcmpl"), request.n or 1
    sampling = build_sampling(request, services.settings.max_reply_tokens)
    with ExitStack() as undo:
        replies = services.chat.answer_choices(list_messages(request), sampling, count)
        for reply in replies:
            undo.callback(reply.close)
        limited_ids: list[str] = []
        if not replies[0].is_crisis:
            _check_model(request, replies[0])
            _check_conversation(services, key, request)
            limited_ids = [build_choice_id(completion_id, index) for index in range(count)]
        open_replies = services.limits.open_replies(key, limited_ids)
        undo.pop_all()
    return Exchange(services, key.id, request, sampling, replies, open_replies, completion_id, started_s)


def find_conversation_id(request: ChatCompletionCreate) -> str | None:
    """The client's own name for the conversation, if it has given one."""
    return request.metadata.conversation_id if request.metadata else None


def build_choice_id(completion_id: str, index: int) -> str:
    """The id under which a choice of a completion is recorded; the first has that of the completion."""
    return f"{completion_id}-{index}" if index else completion_id


def find_finish_reason(reply: Reply) -> str:
    """How the reply ended; only a client that goes away has its reply cancelled."""
    reason = reply.result.finish_reason
    return DISCONNECT if reason == "cancelled" else reason


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
        top_p=DEFAULT_TOP_P if request.top_p is None else max(request.top_p, _LEAST_TOP_P),
        stop=tuple(stop),
    )


def _check_request(request: ChatCompletionCreate) -> None:
    for param in ("tools", "functions", "logit_bias", "logprobs"):
        if getattr(request, param):
            raise InvalidRequest(f"{param} is not supported; send the request without it.", param)
    if request.messages[-1].role != "user":
        raise InvalidRequest("The last message must be from the user, for that is what is answered.", "messages")


def _check_model(request: ChatCompletionCreate, reply: Reply) -> None:
    served = _name_model(reply)
    if request.model not in (None, PRODUCTION, served):
        message = f"The model {request.model!r} is not served; ask for {PRODUCTION!r} or {served!r}."
        raise UnknownModel(message, param="model")


def _check_conversation(services: Services, key: ApiKey, request: ChatCompletionCreate) -> None:
    conversation_id = find_conversation_id(request)
    if conversation_id is not None and request.user is not None:
        with services.database.reading() as session:
            check_end_user(session, key.id, conversation_id, request.user)


def _name_model(reply: Reply) -> str:
    return build_model_name(reply.version) if reply.digest else PRODUCTION
