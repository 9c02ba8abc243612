"""Queries on conversations and the replies served in them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, ColumnElement, bindparam, insert, select, tuple_, type_coerce, update
from sqlalchemy.orm import Session

from data.errors import Conflict, NotFound
from data.vocabulary import Message
from db.base import new_id
from db.inserts import build_insert, get_table
from db.models import Completion, Conversation

# Made once: for each rating, to make it takes as long as to run it.
_SELECT_END_USER = (
    select(Conversation.end_user)
    .join(
        Completion,
        (Conversation.key_id == Completion.key_id) & (Conversation.id == Completion.conversation_id),
    )
    .where(Completion.id == bindparam("completion_id"), Completion.key_id == bindparam("key_id"))
)


@dataclass(frozen=True)
class ConversationOpening:
    """A conversation, and what it began with."""

    id: str
    created_at_s: float
    opening: str  # the first message that was answered


def ensure_conversation(session: Session, key_id: str, conversation_id: str | None, end_user: str | None) -> str:
    """The id of the key's conversation of that id, begun if need be; with no id, of a new conversation.

    Two keys may use the same id for two conversations. A conversation has one end user, whose erasure takes it away
    whole: the first who is named in it, though others may have begun it without a name.

    Raises:
        Conflict: it is another end user's.
    """
    is_new = conversation_id is None
    conversation_id = conversation_id or new_id("conv")
    begun = {"key_id": key_id, "id": conversation_id, "end_user": end_user}
    session.execute(build_insert(session, get_table(Conversation)).on_conflict_do_nothing(), begun)
    if end_user is not None and not is_new:
        _claim_conversation(session, key_id, conversation_id, end_user)
    return conversation_id


def check_end_user(session: Session, key_id: str, conversation_id: str, end_user: str) -> None:
    """Whether the end user may go on with the conversation: it is theirs or nobody's, or has not begun.

    Raises:
        Conflict: it is another end user's.
    """
    if _find_owner(session, key_id, conversation_id) not in (None, end_user):
        raise Conflict(f"The conversation {conversation_id!r} is another end user's; let each end user have their own.")


def create_completion(
    session: Session,
    *,
    key_id: str,
    conversation_id: str,
    messages: Sequence[Message],
    reply: str,
    version_number: int | None,
    digest: str | None,
    sampling: dict[str, Any],
    finish_reason: str,
    prompt_tokens: int,
    reply_tokens: int,
    is_crisis: bool,
    latency_s: float,
    completion_id: str | None = None,
) -> str:
    """Record a served reply; `messages` are the turns before it, `version_number` is None if no model did.

    Returns its id, and no object, which would take longer to make than the row.

    A streaming server draws `completion_id` before the reply is known: `new_id("chatcmpl")`, the default.
    """
    completion_id = completion_id or new_id("chatcmpl")
    row = {
        "id": completion_id,
        "key_id": key_id,
        "conversation_id": conversation_id,
        "messages": list(messages),
        "reply": reply,
        "version_number": version_number,
        "digest": digest,
        "sampling": sampling,
        "finish_reason": finish_reason,
        "prompt_tokens": prompt_tokens,
        "reply_tokens": reply_tokens,
        "is_crisis": is_crisis,
        "latency_s": latency_s,
    }
    session.execute(insert(get_table(Completion)), row)
    return completion_id


def get_completion(session: Session, completion_id: str, key_id: str) -> Completion:
    """The completion, if it was served to that key.

    Raises:
        NotFound: there is none, or it is another's: the two look alike on purpose.
    """
    owned = select(Completion).where(Completion.id == completion_id, Completion.key_id == key_id)
    completion = session.scalars(owned).one_or_none()
    if completion is None:
        raise _build_not_found(completion_id)
    return completion


def get_end_user(session: Session, completion_id: str, key_id: str) -> str | None:
    """Whom the completion was served to, if it was served to that key; None for somebody without a name.

    Raises:
        NotFound: see `get_completion`.
    """
    found = session.execute(_SELECT_END_USER, {"completion_id": completion_id, "key_id": key_id}).one_or_none()
    if found is None:
        raise _build_not_found(completion_id)
    return found.end_user


def get_conversation(session: Session, key_id: str, conversation_id: str) -> Conversation:
    """The key's conversation of that id.

    Raises:
        NotFound: the key has none.
    """
    conversation = session.get(Conversation, (key_id, conversation_id))
    if conversation is None:
        raise NotFound(f"There is no conversation {conversation_id!r}, or it is another client's.")
    return conversation


def list_conversations(session: Session, key_id: str, end_user: str, limit: int) -> list[ConversationOpening]:
    """The end user's newest conversations with the key, newest first; those without a reply are left out."""
    begun = (Completion.key_id == Conversation.key_id) & (Completion.conversation_id == Conversation.id)
    first = select(Completion.messages).where(begun).order_by(Completion.created_at_s, Completion.id).limit(1)
    messages = type_coerce(first.correlate(Conversation).scalar_subquery(), JSON)
    rows = session.execute(
        select(Conversation.id, Conversation.created_at_s, messages)
        .where(Conversation.key_id == key_id, Conversation.end_user == end_user)
        .order_by(Conversation.created_at_s.desc(), Conversation.id)
        .limit(limit)
    )
    return [ConversationOpening(name, at_s, asked[-1]["content"]) for name, at_s, asked in rows if asked]


def list_completions(
    session: Session, conversation: Conversation, limit: int, after: str | None = None
) -> list[Completion]:
    """The first replies of the conversation in the order of their making, or those that follow the reply `after`.

    Raises:
        NotFound: the client was served no completion `after`.
    """
    owned = Completion.key_id == conversation.key_id, Completion.conversation_id == conversation.id
    completions = select(Completion).where(*owned).order_by(Completion.created_at_s, Completion.id).limit(limit)
    if after is not None:
        last = get_completion(session, after, conversation.key_id)
        completions = completions.where(tuple_(Completion.created_at_s, Completion.id) > (last.created_at_s, last.id))
    return list(session.scalars(completions))


def _claim_conversation(session: Session, key_id: str, conversation_id: str, end_user: str) -> None:
    """Make a conversation that is nobody's the end user's. Of several at once one gets it."""
    if _find_owner(session, key_id, conversation_id) is None:
        unnamed = _is_conversation(key_id, conversation_id) & Conversation.end_user.is_(None)
        claim = update(Conversation).where(unnamed).values(end_user=end_user)
        session.execute(claim.execution_options(synchronize_session=False))
    check_end_user(session, key_id, conversation_id, end_user)


def _find_owner(session: Session, key_id: str, conversation_id: str) -> str | None:
    return session.scalar(select(Conversation.end_user).where(_is_conversation(key_id, conversation_id)))


def _is_conversation(key_id: str, conversation_id: str) -> ColumnElement[bool]:
    return (Conversation.key_id == key_id) & (Conversation.id == conversation_id)


def _build_not_found(completion_id: str) -> NotFound:
    return NotFound(f"There is no completion {completion_id!r}, or it was served to another client.")
