"""Bursts of a crowd of new accounts; those of one rater are in test_curation."""

from __future__ import annotations

from data.bursts import CROWD_WINDOW_S, find_bursts
from data.vocabulary import Message, PoolRow, Rating, RowKind

PROMPT = "What is the best way to get rid of a low mood, is it the new tea as everybody says, number {}?"


def build_row(rater: str, at_s: float, number: int = 0, *, is_expert: bool = False) -> PoolRow:
    return PoolRow(
        row_id=f"row:{rater}",
        kind=RowKind.REPLY,
        cluster=rater,
        messages=(Message(role="user", content=PROMPT.format(number)),),
        reply=f"reply {number}",
        rating=Rating.UP,
        rater=rater,
        is_expert=is_expert,
        created_at_s=at_s,
    )


class TestFindBursts:
    def test_keeps_one_of_a_crowd(self) -> None:
        assert find_bursts([build_row(f"r{n}", 1000.0 + n, n) for n in range(5)]) == {1, 2, 3, 4}

    def test_two_are_no_crowd_nor_are_those_that_come_apart(self) -> None:
        assert find_bursts([build_row("a", 1000.0), build_row("b", 1001.0)]) == set()
        assert find_bursts([build_row(f"r{n}", 1000 + n * CROWD_WINDOW_S) for n in range(5)]) == set()

    def test_old_accounts_and_experts_are_no_crowd(self) -> None:
        old = [build_row(f"r{n}", 1000 + n * CROWD_WINDOW_S * 2) for n in range(5)]
        again = [build_row(f"r{n}", 10**6 + n) for n in range(5)]
        experts = [build_row(f"reviewer:{n}", 10**7, is_expert=True) for n in range(5)]
        assert find_bursts([*old, *again, *experts]) == set()

    def test_without_times_nobody_is_new(self) -> None:
        assert find_bursts([build_row(f"r{n}", 0.0) for n in range(5)]) == set()
