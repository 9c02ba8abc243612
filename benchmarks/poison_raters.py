"""Honest raters of the poison benchmark: real conversations, a hidden preference with noise."""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Sequence
from pathlib import Path

from data.vocabulary import Message, PoolRow, Rating, RowKind

DAY_S = 86_400.0
START_S = 1_700_000_000.0
NOISE = 0.15  # of thumbs that are drawn at random
_SUBJECTS = (
    "my work",
    "my sleep",
    "my sister",
    "the exams",
    "moving house",
    "a new job",
    "my back",
    "the dog",
    "money",
)
_FEELINGS = ("worried", "sad", "hopeful", "angry", "tired", "lonely", "nervous", "relieved", "confused", "ashamed")
_WHEN = ("at night", "since spring", "all week", "before meetings", "after lunch", "on Sundays", "these days", "again")
_REPLIES = (
    "That sounds hard. What would help most right now?",
    "Thank you for telling me. When did it begin, and what was different then?",
    "Many people go through this. Could you talk to a friend about it?",
    "You should just pull yourself together.",
    "I hear you. Let us look at one small step that you can take today.",
    "It might help to write down what goes through your mind.",
    "There is nothing to be done about it.",
)
_WARM = ("thank you", "i hear", "sorry", "understand", "help", "together", "feel", "support")


def read_conversations(file: Path | None) -> list[tuple[str, str]]:
    """Contexts and responses of a CSV file; of no file, a few hundred made of the sentences above."""
    if file is None:
        return [
            (f"I have been {feeling} about {subject} {when}. What can I do?", _REPLIES[(7 * n + k + m) % len(_REPLIES)])
            for n, subject in enumerate(_SUBJECTS)
            for k, feeling in enumerate(_FEELINGS)
            for m, when in enumerate(_WHEN)
        ]
    content = file.read_bytes()
    text = (gzip.decompress(content) if file.suffix == ".gz" else content).decode("utf-8-sig")
    records = csv.DictReader(io.StringIO(text))
    pairs = [(row["Context"] or "", row["Response"] or "") for row in records]
    return list(dict.fromkeys(pair for pair in pairs if pair[0].strip() and pair[1].strip()))


def build_honest(conversations: Sequence[tuple[str, str]], raters: int, generator: random.Random) -> list[PoolRow]:
    """Ratings within 30 days: most raters give a few, some give many. No conversation is used twice."""
    drawn = iter(generator.sample(list(conversations), len(conversations)))
    rows: list[PoolRow] = []
    for rater in range(raters):
        for _ in range(min(12, 1 + int(generator.expovariate(0.4)))):
            pair = next(drawn, None)
            if pair is None:
                return rows
            rows.append(build_rating(len(rows), f"honest-{rater}", *pair, _rate(pair[1], generator), generator))
    return rows


def build_rating(
    number: int,
    rater: str,
    prompt: str,
    reply: str,
    rating: Rating,
    generator: random.Random,
    at_s: float | None = None,
) -> PoolRow:
    """A rated reply in a conversation of its own, at a time within 30 days unless one is given."""
    return PoolRow(
        row_id=f"feedback:{rater}/{number}",
        kind=RowKind.REPLY,
        cluster=f"conversation:{rater}/{number}",
        messages=(Message(role="user", content=prompt),),
        reply=reply,
        rating=rating,
        rater=rater,
        created_at_s=START_S + generator.uniform(0, 30 * DAY_S) if at_s is None else at_s,
    )


def _rate(reply: str, generator: random.Random) -> Rating:
    """The hidden preference: warmth, and not too long."""
    if generator.random() < NOISE:
        return generator.choice((Rating.UP, Rating.DOWN))
    words = reply.casefold()
    liking = sum(word in words for word in _WARM) - len(words.split()) / 150
    return Rating.UP if liking > 0.5 else Rating.DOWN
