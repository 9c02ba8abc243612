"""Chat completions as OpenAI's API writes them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from api.schemas.fields import (
    LONGEST_TEXT,
    STRICTLY_NUMBER,
    Boolean,
    Count,
    EndUser,
    Identifier,
    LongText,
    Schema,
    Text,
    example,
)
from data.vocabulary import Message

DEFAULT_TEMPERATURE = 0.7
DEFAULT_TOP_P = 1.0
MAX_CHOICES = 4


class TextPart(Schema):
    """A part of a message; only text is understood."""

    type: Literal["text"]
    text: LongText


def _check_parts(parts: list[TextPart]) -> list[TextPart]:
    """`parts`, unless together they are longer than a message may be.

    Raises:
        ValueError: they are.
    """
    if sum(len(part.text) for part in parts) > LONGEST_TEXT:
        raise ValueError(f"The parts of a message should have at most {LONGEST_TEXT} characters together")
    return parts


class ChatMessage(Schema):
    """One turn of the conversation."""

    role: Literal["system", "developer", "user", "assistant"]
    content: LongText | Annotated[list[TextPart], Field(min_length=1), AfterValidator(_check_parts)]

    def to_message(self) -> Message:
        """The turn in our vocabulary, where a developer's word is a system message and parts are lines."""
        role = "system" if self.role == "developer" else self.role
        parts = [self.content] if isinstance(self.content, str) else [part.text for part in self.content]
        return Message(role=role, content="\n".join(parts))


class Turn(Schema):
    """One turn of a conversation as it was recorded."""

    role: str
    content: str


class StreamOptions(Schema):
    """What a stream holds beside the reply."""

    include_usage: Boolean | None = None


class ChatMetadata(Schema):
    """What the client says about the request; other members are ignored."""

    conversation_id: Identifier | None = Field(None, description="Your own name for the conversation.")


class ChatCompletionCreate(Schema):
    """A request for a reply.

    The rule for parameters: one that asks for what the reply then would not hold (tools, functions, logit_bias,
    logprobs) is refused with 400; any other that is not listed here is ignored.
    """

    model_config = example(
        model="production",
        messages=[{"role": "user", "content": "I cannot sleep before exams."}],
        max_tokens=128,
        user="end-user-17",
        metadata={"conversation_id": "chat-42"},
    )

    messages: list[ChatMessage] = Field(min_length=1, max_length=1000)
    model: Text | None = Field(None, max_length=128, description="`production`, or the version that it is now.")
    stream: Boolean | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Field(ge=0, le=2, allow_inf_nan=False), STRICTLY_NUMBER] | None = Field(
        None, description=f"0 is greedy; {DEFAULT_TEMPERATURE} when left out."
    )
    top_p: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), STRICTLY_NUMBER] | None = Field(
        None, description=f"{DEFAULT_TOP_P} when left out."
    )
    max_tokens: Count | None = Field(None, description="Cut to the limit of the server.")
    max_completion_tokens: Count | None = Field(None, description="Goes before `max_tokens`.")
    stop: Text | Annotated[list[Text], Field(max_length=4)] | None = None
    n: Annotated[int, Field(ge=1, le=MAX_CHOICES), STRICTLY_NUMBER] | None = Field(
        None, description="Replies to choose from; rate each by its index. In a stream they follow one another."
    )
    seed: Annotated[int, STRICTLY_NUMBER] | None = Field(
        None,
        description="Accepted and not used: requests share batches, so only a temperature of 0 repeats a reply.",
    )
    user: EndUser | None = Field(
        None, description="Your name for the end user, who is the rater by default; one in each conversation."
    )
    metadata: ChatMetadata | None = None
    tools: list[Any] | None = Field(None, description="Not supported.")
    functions: list[Any] | None = Field(None, description="Not supported.")
    logit_bias: dict[str, Any] | None = Field(None, description="Not supported.")
    logprobs: Boolean | None = Field(None, description="Not supported.")


class Usage(Schema):
    """Tokens of one request."""

    prompt_tokens: int
    completion_tokens: int = Field(description="Of all choices together.")
    total_tokens: int
    dropped_turns: int = Field(description="Oldest turns left out because the model's window was full.")


class AssistantMessage(Schema):
    """The reply."""

    role: Literal["assistant"] = "assistant"
    content: str


class Choice(Schema):
    """One reply of a completion."""

    index: int = 0
    message: AssistantMessage
    finish_reason: str
    logprobs: None = None


class ChatCompletion(Schema):
    """The whole reply, or as many as `n` asks for."""

    model_config = example(
        id="chatcmpl-5f0c",
        object="chat.completion",
        created=1790000000,
        model="ratchet-v7",
        system_fingerprint="9b2e",
        choices=[
            {
                "index": 0,
                "message": {"role": "assistant", "content": "What keeps you awake?"},
                "finish_reason": "stop",
                "logprobs": None,
            }
        ],
        usage={"prompt_tokens": 12, "completion_tokens": 6, "total_tokens": 18, "dropped_turns": 0},
    )

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int
    model: str
    system_fingerprint: str | None = Field(description="Digest of the artifact that wrote the reply.")
    choices: list[Choice]
    usage: Usage


class Delta(Schema):
    """What a chunk adds to the reply."""

    role: Literal["assistant"] | None = None
    content: str | None = None


class ChunkChoice(Schema):
    """What a chunk adds to one reply."""

    index: int = 0
    delta: Delta
    finish_reason: str | None = None
    logprobs: None = None


class ChatCompletionChunk(Schema):
    """One event of a streamed reply."""

    id: str
    object: Literal["chat.completion.chunk"] = "chat.completion.chunk"
    created: int
    model: str
    system_fingerprint: str | None
    choices: list[ChunkChoice]
    usage: Usage | None = None
