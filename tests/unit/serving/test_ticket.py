"""Rows end where they should: at a stop string, the end token, the limit, or when nobody wants them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.engine import Sampling
from serving.handle import ModelHandle
from serving.ticket import StopCutter, Ticket


def cut(pieces: list[str], stops: tuple[str, ...]) -> str:
    """All that is sent, when the producer ends at the stop string as `Ticket` does."""
    cutter, sent = StopCutter(stops), ""
    for piece in pieces:
        sent += cutter.push(piece)
        if cutter.is_found:
            return sent
    return sent + cutter.finish()


class TestStopCutter:
    @given(
        pieces=st.lists(st.text("ab", max_size=3), max_size=12),
        stops=st.lists(st.text("ab", min_size=1, max_size=4), max_size=3).map(tuple),
    )
    def test_cuts_before_the_stop_that_ends_first(self, pieces: list[str], stops: tuple[str, ...]) -> None:
        text = "".join(pieces)
        grown = (text[:end] for end in range(1, len(text) + 1))
        first = next((part for part in grown if part.endswith(stops)), None)
        longest = max((len(stop) for stop in stops if first and first.endswith(stop)), default=0)
        assert cut(pieces, stops) == (text if first is None else first[: len(first) - longest])

    def test_finds_a_stop_across_pieces(self) -> None:
        assert cut(["Hello U", "se", "r: more"], ("User:",)) == "Hello "

    def test_sends_what_did_not_become_a_stop(self) -> None:
        cutter = StopCutter(("User:",))
        assert [cutter.push("a Us"), cutter.push("ual b"), cutter.push("U"), cutter.finish()] == [
            "a ",
            "Usual b",
            "",
            "U",
        ]

    def test_knows_no_empty_stop(self) -> None:
        assert cut(["abc"], ("",)) == "abc"


def find_ids(handle: ModelHandle, text: str) -> list[int]:
    """One token for each letter."""
    return [next(i for i in range(600) if handle.renderer.decode([i]) == letter) for letter in text]


@pytest.fixture
def ids(handle: ModelHandle) -> dict[str, int]:
    return dict(zip("abc", find_ids(handle, "abc"), strict=True))


class TestTakeToken:
    def test_ends_at_the_limit(self, handle: ModelHandle, ids: dict[str, int]) -> None:
        ticket = Ticket(handle, ["x"], Sampling(max_tokens=2))
        assert [ticket.take_token(ids["a"]), ticket.take_token(ids["b"])] == [False, True]
        assert list(ticket) == ["a", "b"]
        assert (ticket.result.text, ticket.result.finish_reason) == ("ab", "length")
        assert (ticket.result.prompt_tokens, ticket.result.reply_tokens) == (1, 2)

    def test_ends_at_the_end_token_and_does_not_count_it(self, handle: ModelHandle, ids: dict[str, int]) -> None:
        ticket = Ticket(handle, ["x"], Sampling(max_tokens=9, stop=("bc",)))
        assert [ticket.take_token(ids["b"]), ticket.take_token(handle.engine.end_id)] == [False, True]
        assert (ticket.result.text, ticket.result.finish_reason) == ("b", "stop")
        assert ticket.result.reply_tokens == 1

    def test_ends_at_a_stop_string_across_tokens(self, handle: ModelHandle, ids: dict[str, int]) -> None:
        ticket = Ticket(handle, ["x"], Sampling(max_tokens=9, stop=("bc",)))
        assert [ticket.take_token(ids[letter]) for letter in "abc"] == [False, False, True]
        assert list(ticket) == ["a"]
        assert (ticket.result.text, ticket.result.finish_reason) == ("a", "stop")

    def test_a_stop_string_in_what_was_held_back_is_cut_too(self, handle: ModelHandle) -> None:
        half = next(i for i in range(600) if handle.renderer.decode([i]) == "\ufffd")
        ticket = Ticket(handle, ["x"], Sampling(max_tokens=1, stop=("\ufffd",)))
        assert ticket.take_token(half)
        assert ticket.result.text == ""

    def test_ends_when_cancelled(self, handle: ModelHandle, ids: dict[str, int]) -> None:
        ticket = Ticket(handle, ["x"], Sampling(max_tokens=9, stop=("bc",)))
        ticket.take_token(ids["a"])
        ticket.take_token(ids["b"])
        ticket.cancel()
        assert ticket.take_token(ids["c"])
        assert (ticket.result.text, ticket.result.finish_reason) == ("a", "cancelled")


class TestCanJoin:
    @pytest.mark.parametrize(
        ("prompt_tokens", "sampling", "can_join"),
        [
            (10, Sampling(max_tokens=1, temperature=0.5, stop=("x",)), True),
            (26, Sampling(max_tokens=5, temperature=0.5), True),
            (27, Sampling(max_tokens=5, temperature=0.5), False),
            (10, Sampling(max_tokens=5, temperature=0.6), False),
        ],
    )
    def test_wants_the_same_sampling_and_about_the_same_length(
        self, handle: ModelHandle, prompt_tokens: int, sampling: Sampling, can_join: bool
    ) -> None:
        oldest = Ticket(handle, ["x"] * 10, Sampling(max_tokens=5, temperature=0.5))
        assert Ticket(handle, ["x"] * prompt_tokens, sampling).can_join(oldest) is can_join

    def test_never_mixes_handles(self, handle: ModelHandle, gated_handle: ModelHandle) -> None:
        tickets = [Ticket(each, ["x"], Sampling(max_tokens=5)) for each in (handle, gated_handle)]
        assert not tickets[0].can_join(tickets[1])
