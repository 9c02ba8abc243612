"""Conversations as the chat shows them."""

from __future__ import annotations

from api.schemas.conversation import Completion
from api.schemas.feedback import Feedback
from api.ui.turns import Sibling, Turn, build_messages, build_turns


def build_completion(name: str, *turns: str, ups: tuple[str, ...] = ()) -> Completion:
    roles = ["user", "assistant"] * len(turns)
    values = {
        "rater_kind": "end_user",
        "rating": "up",
        "reasons": [],
        "comment": None,
        "correction": None,
        "scores": {},
    }
    times = {"times_given": 1, "created_at_s": 0, "updated_at_s": 0}
    return Completion.model_validate(
        {
            "id": name,
            "messages": [{"role": role, "content": text} for role, text in zip(roles, turns, strict=False)],
            "reply": f"reply {name}",
            "version_number": 3,
            "finish_reason": "stop",
            "is_crisis": False,
            "created_at_s": 0,
            "feedback": [{**values, **times, "completion_id": name, "rater": rater} for rater in ups],
        }
    )


class TestBuildTurns:
    def test_replies_to_the_same_messages_are_siblings(self) -> None:
        completions = [
            build_completion("a", "Hello"),
            build_completion("b", "Hello"),
            build_completion("c", "Hello", "x", "More"),
        ]
        turns = build_turns(completions, "ann")
        assert [(turn.question, len(turn.siblings)) for turn in turns] == [("Hello", 2), ("More", 1)]
        assert turns[0].current is turns[0].siblings[1]
        assert not turns[0].is_compared

    def test_shows_the_reply_that_the_rater_liked(self) -> None:
        completions = [build_completion("a", "Hello", ups=("ann",)), build_completion("b", "Hello", ups=("ben",))]
        [turn] = build_turns(completions, "ann")
        assert turn.shown == 0
        assert isinstance(turn.siblings[0].given, Feedback)
        assert turn.siblings[1].given is None

    def test_nothing(self) -> None:
        assert build_turns([], "ann") == []


class TestBuildMessages:
    def test_goes_on_from_the_replies_that_are_shown(self) -> None:
        turns = build_turns([build_completion("a", "Hello"), build_completion("b", "Hello")], "ann")
        turns[0].choose(turns[0].siblings[0])
        messages = build_messages([*turns, Turn("And now?")])
        wanted = [("user", "Hello"), ("assistant", "reply a"), ("user", "And now?")]
        assert [(message.role, message.content) for message in messages] == wanted

    def test_leaves_out_a_reply_that_never_came(self) -> None:
        assert [message.content for message in build_messages([Turn("Hello"), Turn("Hello?")])] == ["Hello", "Hello?"]


class TestTurn:
    def test_compares_from_the_second_reply_on_until_one_is_chosen(self) -> None:
        turn = Turn("Hello")
        assert turn.current is None
        first, second = (Sibling(name, name, 1, "stop", False) for name in "ab")
        turn.add(first)
        assert (turn.current, turn.is_compared) == (first, False)
        turn.add(second)
        assert (turn.current, turn.is_compared) == (second, True)
        turn.choose(first)
        assert (turn.current, turn.is_compared) == (first, False)
