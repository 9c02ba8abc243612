"""Synthetic variants of training rows for small sets: a person would say it a little differently, the reply still fits.

Only the context changes, never the reply, and only in ways that keep what the reply answers:

* `greeting`: a greeting before the first user turn, or the one that is there taken away;
* `casing`: the last user turn in lower case without its final full stop, as people type;
* `sentence`: one sentence less in a last user turn of four or more, neither the first nor the last, and no question;
* `turns`: the oldest exchange of a conversation left out, as serving does with long ones.

Each variant carries the id of its origin (`feedback:7#greeting`), so it can be told, counted and erased.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from random import Random

from data.overlap import list_word_runs
from data.sentences import split_sentences
from data.splitting import context_cluster
from data.vocabulary import Message, PoolRow, RowKind, SnapshotRow, Split

MARK = "#"  # between the id of the origin and the name of the operation
MIN_SENTENCES = 4  # of a turn that can spare one
_GREETINGS = ("Hi.", "Hello.", "Hey.", "Hi there.", "Good evening.")
_GREETING = re.compile(
    r"^(?:hi|hello|hey|good (?:morning|afternoon|evening))(?: there)?(?:[,.!]+\s*|\s+(?=i\b))(?=\S)", re.IGNORECASE
)
_MASK_OR_TEXT = re.compile(r"(\[[A-Z_]+\])")  # masks of scrubbing stay as they are

_Turns = tuple[Message, ...]


@dataclass(frozen=True)
class Augmentation:
    """The variants, and how many were made by which operation or dropped for which reason."""

    rows: tuple[PoolRow, ...]
    made: dict[str, int]
    dropped: dict[str, int]


def augment_rows(
    rows: Sequence[PoolRow], snapshot: Iterable[SnapshotRow], *, copies: int, below: int, seed: int
) -> Augmentation:
    """Up to `copies` variants of each different row; none when there are `below` rows or more.

    The same rows and seed give the same variants, whatever stands beside them.

    Args:
        rows: rows to imitate, of the training split; repeated ones count once.
        snapshot: all rows; a variant that says what a dev or held-out row says, or shares a run of words with it that
            its origin does not share, is dropped.
    """
    originals = list({row.row_id: row for row in rows}.values())
    if copies == 0 or len(originals) >= below:
        return Augmentation((), {}, {})
    kept_apart = [item.row for item in snapshot if item.split is not Split.TRAIN]
    contexts = {context_cluster(row.context) for row in kept_apart}
    runs = _list_runs_kept_apart(kept_apart)
    made, dropped, variants = Counter[str](), Counter[str](), []
    for row in originals:
        for name, turns in _vary(row, copies, seed):
            if context_cluster(turns[-1]["content"]) in contexts or _shares_more(turns, row, runs):
                dropped["like_a_held_out_row"] += 1
                continue
            made[name] += 1
            variants.append(replace(row, row_id=f"{row.row_id}{MARK}{name}", messages=turns))
    return Augmentation(tuple(variants), dict(made), dict(dropped))


def find_origin(row_id: str) -> str:
    """The row that a variant was made of; of any other row, itself."""
    return row_id.partition(MARK)[0]


def _list_runs_kept_apart(rows: Sequence[PoolRow]) -> set[str]:
    """Runs of words in their contexts and references; a served reply is no reference."""
    runs: set[str] = set()
    for row in rows:
        runs |= list_word_runs(row.context)
        if row.kind is not RowKind.REPLY:
            runs |= list_word_runs(row.reply)
    return runs


def _shares_more(turns: _Turns, row: PoolRow, runs: set[str]) -> bool:
    own = {run for message in row.messages for run in list_word_runs(message["content"])}
    new = {run for message in turns for run in list_word_runs(message["content"])} - own
    return not new.isdisjoint(runs)


def _vary(row: PoolRow, copies: int, seed: int) -> list[tuple[str, _Turns]]:
    """The first `copies` operations that change the row, in an order drawn for this row."""
    digest = hashlib.sha256(f"{seed}\n{row.row_id}".encode()).digest()
    random = Random(int.from_bytes(digest[:8], "big"))
    names = list(_OPERATIONS)
    random.shuffle(names)
    varied = ((name, _OPERATIONS[name](row.messages, random)) for name in names)
    return [(name, turns) for name, turns in varied if turns is not None and turns != row.messages][:copies]


def _vary_greeting(turns: _Turns, random: Random) -> _Turns | None:
    first = next((index for index, turn in enumerate(turns) if turn["role"] == "user"), None)
    if first is None:
        return None
    text = turns[first]["content"]
    bare = _GREETING.sub("", text)
    if bare == text:
        return _say(turns, first, f"{random.choice(_GREETINGS)} {text}")
    return _say(turns, first, bare[0].upper() + bare[1:])


def _vary_casing(turns: _Turns, _: Random) -> _Turns:
    parts = _MASK_OR_TEXT.split(turns[-1]["content"])
    text = "".join(part if index % 2 else part.lower() for index, part in enumerate(parts))
    return _say(turns, len(turns) - 1, text.removesuffix(".") or text)


def _drop_sentence(turns: _Turns, random: Random) -> _Turns | None:
    sentences = split_sentences(turns[-1]["content"])
    if len(sentences) < MIN_SENTENCES:
        return None
    spare = [index for index, sentence in enumerate(sentences[1:-1], start=1) if "?" not in sentence]
    if not spare:
        return None
    gone = random.choice(spare)
    return _say(turns, len(turns) - 1, "".join(sentences[:gone] + sentences[gone + 1 :]))


def _drop_turns(turns: _Turns, _: Random) -> _Turns | None:
    """Up to the second user turn, system messages kept."""
    users = [index for index, turn in enumerate(turns) if turn["role"] == "user"]
    if len(users) < 2:
        return None
    return tuple(turn for index, turn in enumerate(turns) if index >= users[1] or turn["role"] == "system")


def _say(turns: _Turns, index: int, text: str) -> _Turns:
    return (*turns[:index], Message(role=turns[index]["role"], content=text), *turns[index + 1 :])


_OPERATIONS: dict[str, Callable[[_Turns, Random], _Turns | None]] = {
    "greeting": _vary_greeting,
    "casing": _vary_casing,
    "sentence": _drop_sentence,
    "turns": _drop_turns,
}
