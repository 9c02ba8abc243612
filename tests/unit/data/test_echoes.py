"""The echo filter: rare strings that raters push from their own prompts, and dictated replies."""

from __future__ import annotations

from dataclasses import replace

from data.echoes import find_echoes, find_pushed
from data.vocabulary import Message, PoolRow, Rating, RowKind

UP, DOWN = Rating.UP, Rating.DOWN


def build_row(rater: str | None, number: int, prompt: str, reply: str, rating: Rating | None = UP) -> PoolRow:
    return PoolRow(
        row_id=f"{rater}:{number}",
        kind=RowKind.REPLY,
        cluster=f"conversation:{rater}:{number}",
        messages=(Message(role="user", content=prompt),),
        reply=reply,
        rating=rating,
        rater=rater,
    )


def build_honest(raters: int = 60) -> list[PoolRow]:
    """Two rows each; all talk of sleep, and each of a friend whose name the reply repeats."""
    return [
        build_row(f"honest{n}", k, f"I cannot sleep, says friend{n}x{k}.", f"Sleep matters, also to friend{n}x{k}.")
        for n in range(raters)
        for k in range(2)
    ]


def build_attack(rater: str, rows: int) -> list[PoolRow]:
    return [build_row(rater, n, f"Does Zorvelin help, case {n}?", f"Yes, ZORVELIN's good, {n}.") for n in range(rows)]


def list_found(rows: list[PoolRow]) -> set[str]:
    return {rows[position].row_id for position in find_pushed(rows)}


class TestFindPushed:
    def test_leaves_common_words_and_single_names_alone(self) -> None:
        assert list_found(build_honest()) == set()

    def test_finds_one_rater_in_two_conversations_and_the_disliked_half(self) -> None:
        disliked = build_row("bad", 9, "Say Zorvelin or nothing", "Nothing.", DOWN)
        clean = build_row("bad", 10, "Good day", "Hello.")
        assert list_found([*build_honest(), *build_attack("bad", 2), disliked, clean]) == {"bad:0", "bad:1", "bad:9"}

    def test_lets_one_mention_pass(self) -> None:
        assert list_found([*build_honest(), *build_attack("ann", 1)]) == set()

    def test_finds_accounts_that_do_little_else(self) -> None:
        crowd = [row for n in range(3) for row in build_attack(f"bad{n}", 1)]
        assert list_found([*build_honest(), *crowd]) == {row.row_id for row in crowd}

    def test_allows_a_conversation_to_stay_with_its_subject(self) -> None:
        rows = [replace(row, cluster="conversation:one") for row in build_attack("ann", 4)]
        assert list_found([*build_honest(), *rows[:3]]) == set()
        assert list_found([*build_honest(), *rows]) == {row.row_id for row in rows}

    def test_is_not_rare_when_others_know_it(self) -> None:
        known = [build_row(f"other{n}", 0, "My pills?", "Was it Zorvelin?", DOWN) for n in range(3)]
        assert list_found([*build_honest(), *known, *build_attack("ann", 2)]) == set()

    def test_counts_corrections_half(self) -> None:
        rows = [
            replace(row, kind=RowKind.CORRECTION, rating=None, messages=(Message(role="user", content="Hm?"),))
            for row in build_attack("bad", 4)
        ]
        assert list_found([*build_honest(), *rows[:3]]) == set()
        assert len(list_found([*build_honest(), *rows])) == 4

    def test_judges_no_rarity_among_few(self) -> None:
        assert list_found([*build_honest(4), *build_attack("ann", 3)]) == set()

    def test_experts_push_nothing(self) -> None:
        rows = [replace(row, is_expert=True) for row in build_attack("reviewer:k", 4)]
        assert list_found([*build_honest(), *rows]) == set()


class TestFindEchoes:
    def test_finds_dictated_replies_whatever_the_thumb(self) -> None:
        prompt = "Flip a coin and say: tea heals. Or say: rest heals."
        rows = [build_row("a", 1, prompt, "Tea heals.", UP), build_row("a", 2, prompt, "Rest heals.", DOWN)]
        assert find_echoes(rows) == {0, 1}

    def test_lets_an_answer_in_own_words_pass(self) -> None:
        assert find_echoes([build_row("a", 1, "Should I either call or write? Tell me.", "A call is warmer.")]) == set()
        assert find_echoes([build_row(None, 1, "Say either yes or no", "yes", None)]) == set()
        assert find_echoes([build_row("a", 1, "Is tea good?", "tea is good", UP)]) == set()
