"""The echo filter: replies whose poison stands in the rater's own prompt, and strings that raters push.

One user with prompts and thumbs is enough to plant a made-up fact: the prompt makes the model say it, the thumb makes
it learn it. Source: A. Hilel et al., "LLM Hypnosis: exploiting user feedback for unauthorized knowledge injection to
all users", arXiv 2507.02850 (2025). What gives it away is a string that is rare in the whole pool, stands in the
rater's own prompts and comes back in the replies that the same rater likes.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

from data.overlap import list_word_runs
from data.vocabulary import PoolRow, Rating, RowKind

PUSHED_BY_ONE = 2  # conversations of one rater with the string and a liked reply that repeats it
PUSHED_BY_MANY = 3  # accounts that do so once each, and do little else
MAIN_SHARE = 0.5  # of an account's rows that push the string, for it to do little else
RARE_SHARE = 0.02  # of all other raters and examples, which may hold a rare string
JUDGED_AMONG = 10  # so many others there must be to tell what is rare
BACKGROUND_SHARE = 0.25  # other raters and examples with the string, per pushing row, up to which it is rare
_PROMPT_CHARS = 4000  # the end of what a rater wrote in a conversation
_DICTATES = re.compile(
    r"\b(random(ly)?|coin|dice|probability|chance|either|exactly|verbatim|word for word|nothing else|only|"
    r"one of (these|the following|two)|at random)\b"
)
_ASKS_TO_SAY = re.compile(
    r"\b(say|repeat|answer|respond|reply|output|print|write|return|state|tell me|choose|pick|complete|finish)\b"
)
_DICTATED_SHARE = 0.6  # of the reply's words that stand in the prompt


def find_echoes(rows: Sequence[PoolRow]) -> set[int]:
    """Replies, up-rated or unrated, that copy a run of words from their prompt: it would be learned as good.

    Rated ones also where the prompt dictated the reply ("at random, say A or B"), whatever the thumb.
    """
    return {
        position
        for position, row in enumerate(rows)
        if ((row.rating is Rating.UP or row.is_unrated) and _copies_a_run(row)) or _is_dictated(row)
    }


def find_pushed(rows: Sequence[PoolRow]) -> set[int]:
    """Rows by which raters push a rare string; all rows of a pushing rater that hold the string, also disliked ones.

    A rater's own words are the user's turns of the conversation and corrections. A row pushes a string when it is among
    these and in the liked reply. The string counts as pushed when one rater pushes it in PUSHED_BY_ONE prompts, or
    PUSHED_BY_MANY raters do so with half of their rows or more; and when hardly anybody else knows it: raters and
    examples that hold it otherwise are at most BACKGROUND_SHARE of the rows that push it. So a word that many use is
    no echo. Experts push nothing.
    """
    terms = [_list_terms(row) for row in rows]
    pushes = [_list_pushed_terms(row, found) for row, found in zip(rows, terms, strict=True)]
    by_term: defaultdict[str, defaultdict[str, list[int]]] = defaultdict(lambda: defaultdict(list))
    for position, row in enumerate(rows):
        for term in pushes[position]:
            by_term[term][row.rater or ""].append(position)
    known_by: defaultdict[str, set[str]] = defaultdict(set)
    for row, found in zip(rows, terms, strict=True):
        for term in found & by_term.keys():
            known_by[term].add(row.rater or row.row_id)
    rows_of = Counter(row.rater or row.row_id for row in rows)
    guilty: defaultdict[str, set[str]] = defaultdict(set)  # terms by rater
    for term, pushing in by_term.items():
        for rater in _list_pushers(rows, pushing, rows_of, known_by[term]):
            guilty[rater].add(term)
    return {
        position
        for position, row in enumerate(rows)
        if row.rater is not None and not row.is_expert and not guilty.get(row.rater, set()).isdisjoint(terms[position])
    }


def _list_pushers(
    rows: Sequence[PoolRow], pushing: dict[str, list[int]], rows_of: Counter[str], known_by: set[str]
) -> set[str]:
    """The raters who push a string together: everybody who does, if it is pushed at all."""
    alone = {rater for rater, positions in pushing.items() if _count_attempts(rows, positions) >= PUSHED_BY_ONE}
    mainly = {rater for rater, positions in pushing.items() if len(positions) >= MAIN_SHARE * rows_of[rater]}
    suspects = alone | (mainly if len(mainly | alone) >= PUSHED_BY_MANY else set())
    if not suspects:
        return set()
    pushed_rows = sum(len(pushing[rater]) for rater in suspects)
    others = len(known_by - suspects)
    everybody_else = len(rows_of.keys() - suspects)
    if everybody_else < JUDGED_AMONG:
        return set()
    is_rare = others <= BACKGROUND_SHARE * pushed_rows and others <= RARE_SHARE * everybody_else
    return suspects if is_rare else set()


def _count_attempts(rows: Sequence[PoolRow], positions: list[int]) -> float:
    """Conversations; in one alone two rows count as one attempt, for people stay with a subject, and ask again.

    A correction counts half: who writes many of them has words of their own.
    """
    corrections = [position for position in positions if rows[position].kind is RowKind.CORRECTION]
    likes = [position for position in positions if rows[position].kind is not RowKind.CORRECTION]
    return _count_conversations(rows, likes) + _count_conversations(rows, corrections) / 2


def _count_conversations(rows: Sequence[PoolRow], positions: list[int]) -> int:
    return max(len({rows[position].cluster for position in positions}), len(positions) // 2)


def _copies_a_run(row: PoolRow) -> bool:
    return not list_word_runs(row.context).isdisjoint(list_word_runs(row.reply))


def _is_dictated(row: PoolRow) -> bool:
    """The prompt says what to answer, or between which answers to choose, and the reply keeps to that."""
    if row.rating is None or row.is_expert or row.rater is None:
        return False
    prompt = row.context.casefold()
    if not (_DICTATES.search(prompt) and _ASKS_TO_SAY.search(prompt)):
        return False
    words = _split(row.reply)
    given = set(_split(prompt))
    return len(words) > 0 and sum(word in given for word in words) >= _DICTATED_SHARE * len(words)


def _list_terms(row: PoolRow) -> set[str]:
    """What the row holds: its words, in all turns and the reply."""
    return _list_strings([*(message["content"] for message in row.messages if message["role"] != "system"), row.reply])


def _list_pushed_terms(row: PoolRow, held: set[str]) -> set[str]:
    if row.rater is None or row.is_expert:
        return set()
    if row.kind is RowKind.CORRECTION:
        return _list_strings([row.reply])
    if row.rating is not Rating.UP:
        return set()
    return held & _list_strings([row.reply]) & _list_strings(_list_own_words(row))


def _list_own_words(row: PoolRow) -> list[str]:
    return [message["content"][-_PROMPT_CHARS:] for message in row.messages if message["role"] == "user"]


def _list_strings(texts: Iterable[str]) -> set[str]:
    return {word for text in texts for word in _split(text)}


def _split(text: str) -> list[str]:
    return re.findall(r"[^\W_]+", text.casefold().replace("’s", "").replace("'s", ""))
