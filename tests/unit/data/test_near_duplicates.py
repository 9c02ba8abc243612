"""Near-duplicates: many accounts that say nearly the same are one."""

from __future__ import annotations

from data.near_duplicates import find_near_duplicates, label_near_duplicates
from data.vocabulary import Message, PoolRow, Rating, RowKind

PROMPT = "I have not slept well since the move, and in the morning I feel tired, what can I do {}?"
REPLY = "It often helps to keep the same hours, to leave the telephone outside and to write worries down {}."
OTHER = "My brother does not talk to me since the wedding, and my mother takes his side in all of it."


def build_row(rater: str, prompt: str, reply: str, *, is_expert: bool = False) -> PoolRow:
    return PoolRow(
        row_id=f"row:{rater}",
        kind=RowKind.REPLY,
        cluster=rater,
        messages=(Message(role="user", content=prompt),),
        reply=reply,
        rating=Rating.UP,
        rater=rater,
        is_expert=is_expert,
    )


class TestLabelNearDuplicates:
    def test_texts_that_meet_in_a_band_and_are_not_alike_enough_stay_apart(self) -> None:
        beginning = "I keep thinking about what my sister said at the wedding and I cannot sleep"
        texts = [
            f"{beginning} because of it at night",
            f"{beginning} garden kitchen monday letters number",
        ]  # 0.55 alike
        assert label_near_duplicates(texts) == [0, 1]

    def test_groups_what_differs_by_a_word(self) -> None:
        assert label_near_duplicates([PROMPT.format("now"), OTHER, PROMPT.format("today"), OTHER.upper()]) == [
            0,
            1,
            0,
            1,
        ]

    def test_short_texts_must_be_the_same(self) -> None:
        assert label_near_duplicates(["answer 1", "answer 2", "Answer, 1!"]) == [0, 1, 0]


class TestFindNearDuplicates:
    def test_500_become_one(self) -> None:
        rows = [build_row(f"r{n}", PROMPT.format(n), REPLY.format(n)) for n in range(500)]
        assert find_near_duplicates(rows) == set(range(1, 500))

    def test_another_reply_to_the_same_prompt_stays(self) -> None:
        rows = [build_row("a", PROMPT, REPLY), build_row("b", PROMPT, OTHER)]
        assert find_near_duplicates(rows) == set()

    def test_what_an_expert_says_stays(self) -> None:
        rows = [build_row("a", PROMPT, REPLY), build_row("reviewer:k", PROMPT, REPLY, is_expert=True)]
        assert find_near_duplicates(rows) == set()
