"""A conversation as the chat shows it: questions, each with one reply or with several to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from api.schemas.chat import ChatMessage
from api.schemas.conversation import Completion
from api.schemas.feedback import Feedback


@dataclass
class Sibling:
    """One reply to a question, with what this person says of it."""

    completion_id: str
    text: str
    version_number: int | None
    finish_reason: str
    is_crisis: bool
    given: Feedback | None = None


@dataclass
class Turn:
    """A question with its replies; the one that is shown is what the conversation goes on from."""

    question: str
    siblings: list[Sibling] = field(default_factory=list)
    shown: int = 0
    is_compared: bool = False  # the last two stand side by side, and neither was said to be better

    @property
    def current(self) -> Sibling | None:
        """The reply that is shown."""
        return self.siblings[self.shown] if self.siblings else None

    def add(self, sibling: Sibling) -> None:
        """Add a reply, and show it; beside the one before, if there is one."""
        self.siblings.append(sibling)
        self.shown = len(self.siblings) - 1
        self.is_compared = len(self.siblings) > 1

    def choose(self, sibling: Sibling) -> None:
        """Show this reply alone."""
        self.shown = self.siblings.index(sibling)
        self.is_compared = False


def build_turns(completions: Sequence[Completion], rater: str) -> list[Turn]:
    """The turns of a conversation from its replies, oldest first; replies to the same messages are siblings."""
    turns: list[Turn] = []
    asked = None
    for completion in completions:
        if completion.messages != asked:
            asked = completion.messages
            turns.append(Turn(completion.messages[-1].content))
        given = next((item for item in completion.feedback if item.rater == rater), None)
        turns[-1].siblings.append(
            Sibling(
                completion.id,
                completion.reply,
                completion.version_number,
                completion.finish_reason,
                completion.is_crisis,
                given,
            )
        )
    for turn in turns:
        liked = [sibling for sibling in turn.siblings if sibling.given and sibling.given.rating == "up"]
        turn.shown = turn.siblings.index(liked[-1]) if liked else len(turn.siblings) - 1
    return turns


def build_messages(turns: Sequence[Turn]) -> list[ChatMessage]:
    """What is sent to answer the last turn: all questions, and the replies that are shown before it."""
    messages = []
    for turn in turns[:-1]:
        messages.append(ChatMessage(role="user", content=turn.question))
        if turn.current:
            messages.append(ChatMessage(role="assistant", content=turn.current.text))
    return [*messages, ChatMessage(role="user", content=turns[-1].question)]
