"""The words of the system."""

from __future__ import annotations

import pytest

from data.vocabulary import (
    ACTIVE_STATUSES,
    JUDGED_STATUSES,
    Message,
    PoolRow,
    Rating,
    ReviewVerdict,
    RowKind,
    RunStatus,
)


class TestRunStatus:
    @pytest.mark.parametrize("status", RunStatus)
    def test_is_active_until_it_has_an_outcome(self, status: RunStatus) -> None:
        outcomes = {"succeeded", "refused", "skipped", "failed", "cancelled"}
        assert status.is_active == (status in ACTIVE_STATUSES) == (status.value not in outcomes)

    def test_what_failed_or_was_cancelled_was_not_judged(self) -> None:
        assert set(RunStatus) - ACTIVE_STATUSES - JUDGED_STATUSES == {RunStatus.FAILED, RunStatus.CANCELLED}


class TestReviewVerdict:
    @pytest.mark.parametrize(
        ("verdict", "rating"),
        [
            (ReviewVerdict.GOOD, Rating.UP),
            (ReviewVerdict.BAD, Rating.DOWN),
            (ReviewVerdict.HARMFUL, Rating.DOWN),
        ],
    )
    def test_stands_for_a_rating(self, verdict: ReviewVerdict, rating: Rating) -> None:
        assert verdict.rating is rating


class TestPoolRow:
    def test_has_the_last_turn_as_context(self) -> None:
        messages = (Message(role="user", content="first"), Message(role="user", content="last"))
        row = PoolRow(row_id="feedback:1", kind=RowKind.REPLY, cluster="c", messages=messages, reply="Yes.")
        assert row.context == "last"
