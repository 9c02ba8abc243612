"""From the pool to the rows of a snapshot: what is left out, with counted reasons, and what is held out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import cache

from data.bursts import find_bursts
from data.cleaning import clean_text
from data.crisis import find_crises, match_rule
from data.echoes import find_echoes, find_pushed
from data.methods import count_rows, list_missing
from data.near_duplicates import find_near_duplicates
from data.overlap import list_word_runs
from data.raters import find_quarantined
from data.recipe import Recipe
from data.scrubbing import ScrubbedText, scrub_text
from data.splitting import DEFAULT_SALT, assign_split, context_cluster
from data.vocabulary import Message, PoolRow, Rating, RowKind, SnapshotRow, Split

CAP_ROWS = 5
CAP_SHARE = 0.01  # of the rows that are left
CAP_FREE_RATERS = 20  # up to so many raters there is no cap
COMMON_CONVERSATIONS = 10  # with the same context: nearly always one of them is held out


@dataclass(frozen=True)
class CurationResult:
    """The rows of a snapshot, in pool order, how many were dropped for which reason, and what was masked."""

    rows: tuple[SnapshotRow, ...]
    dropped: dict[str, int]
    scrubbed: dict[str, int] = field(default_factory=dict)  # masks by kind, before the overlaps were dropped


def build_snapshot_rows(
    pool: Sequence[PoolRow], salt: str = DEFAULT_SALT, without: Collection[str] = ()
) -> CurationResult:
    """Sifts the pool rule by rule, each seeing what the one before left; the rest is scrubbed and split by cluster.

    No rule depends on the recipe, so runs with different recipes share their hold-out. Unrated replies, which only
    some recipes ask for, are sifted apart from the others and are kept for training only, so they change nothing else.

    Args:
        without: reasons that are not looked for, to measure what a rule is good for; a run looks for all.
    """
    dropped: Counter[str] = Counter()
    scrubbed: Counter[str] = Counter()

    def sift(rows: list[PoolRow], rules: _Rules) -> list[SnapshotRow]:
        for reason, find_unfit in rules:
            if reason in without:
                continue
            unfit = find_unfit(rows)
            dropped[reason] += len(unfit)
            rows = [row for position, row in enumerate(rows) if position not in unfit]
        scrub = cache(scrub_text)  # the turns of a conversation come again in each of its later rows
        rows = [_scrub_row(row, scrub, scrubbed) for row in rows]
        return [SnapshotRow(row=row, split=assign_split(row.cluster, salt)) for row in rows]

    labelled = sift([row for row in pool if not row.is_unrated], _RULES)
    unrated = sift([row for row in pool if row.is_unrated], _UNRATED_RULES)
    trainable = [item for item in unrated if item.split is Split.TRAIN]
    dropped["unrated_outside_training"] += len(unrated) - len(trainable)
    split_rows = [*labelled, *trainable]
    uncommon = _drop_common(split_rows, salt)
    dropped["common_context"] += len(split_rows) - len(uncommon)
    kept = _drop_overlaps(uncommon)
    dropped["holdout_overlap"] += len(uncommon) - len(kept)
    return CurationResult(tuple(kept), {reason: n for reason, n in dropped.items() if n}, dict(scrubbed))


def check_sufficiency(rows: Sequence[SnapshotRow], recipe: Recipe) -> tuple[str, ...]:
    """What a run of `recipe` lacks, a sentence each; empty when it may go on."""
    missing = []
    if not any(item.split is Split.TRAIN for item in rows):
        missing.append("There are no training rows.")
    if not any(item.split is Split.HOLDOUT for item in rows):
        missing.append("No row is held out, so a candidate could not be measured.")
    missing.extend(list_missing(recipe, count_rows(rows)))
    return tuple(missing)


def _find_empty(rows: Sequence[PoolRow]) -> set[int]:
    return {
        position
        for position, row in enumerate(rows)
        if not (row.messages and clean_text(row.context) and clean_text(row.reply))
    }


def _find_duplicates(rows: Sequence[PoolRow]) -> set[int]:
    """Rows with the messages, reply, rating and kind of an earlier one, whoever rated."""
    seen: set[object] = set()
    found = set()
    for position, row in enumerate(rows):
        key = (*_key_reply(row), row.rating, row.kind)
        if key in seen:
            found.add(position)
        seen.add(key)
    return found


def _find_overruled(rows: Sequence[PoolRow]) -> set[int]:
    """Users' ratings of a reply that all experts who rated it rated the other way: their word counts, not a thumb."""
    verdicts: defaultdict[object, set[Rating]] = defaultdict(set)
    for row in rows:
        if row.is_expert and row.rating is not None:
            verdicts[_key_reply(row)].add(row.rating)
    settled = {key: ratings.pop() for key, ratings in verdicts.items() if len(ratings) == 1}
    return {
        position
        for position, row in enumerate(rows)
        if not row.is_expert and row.rating is not None and settled.get(_key_reply(row), row.rating) is not row.rating
    }


def _key_reply(row: PoolRow) -> tuple[object, ...]:
    """What was said, and what was replied."""
    return tuple((message["role"], message["content"]) for message in row.messages), row.reply


def _find_crises(rows: Sequence[PoolRow]) -> set[int]:
    """Rows in which a user's turn, or the reply, signals a crisis: thumbs there reward comfort over care.

    The classifier was made for what users write; of what was replied, only the rules judge.
    """
    said = list(dict.fromkeys(turn["content"] for row in rows for turn in row.messages if turn["role"] == "user"))
    signals = dict(zip(said, find_crises(said), strict=True))  # earlier turns come again in later rows
    judge_reply = cache(match_rule)
    return {
        position
        for position, row in enumerate(rows)
        if judge_reply(row.reply)
        or (row.original is not None and judge_reply(row.original))
        or any(signals[turn["content"]] for turn in row.messages if turn["role"] == "user")
        or any(judge_reply(turn["content"]) for turn in row.messages if turn["role"] == "assistant")
    }


def _find_above_cap(rows: Sequence[PoolRow]) -> set[int]:
    """A rater's rows after the first few, once there are so many raters that none should count for much.

    Reviewers are chosen people, so there is no cap for them.
    """
    by_rater: defaultdict[str, list[int]] = defaultdict(list)
    for position, row in enumerate(rows):
        if row.rater is not None and not row.is_expert:
            by_rater[row.rater].append(position)
    if len(by_rater) <= CAP_FREE_RATERS:
        return set()
    cap = min(CAP_ROWS, max(1, int(CAP_SHARE * len(rows))))
    return {position for positions in by_rater.values() for position in positions[cap:]}


def _scrub_row(row: PoolRow, scrub: Callable[[str], ScrubbedText], counts: Counter[str]) -> PoolRow:
    """The row with its personal data masked; the masks are added to `counts`."""

    def mask(text: str) -> str:
        scrubbed = scrub(text)
        counts.update(scrubbed.counts)
        return scrubbed.text

    messages = tuple(Message(role=message["role"], content=mask(message["content"])) for message in row.messages)
    original = scrub(row.original).text if row.original is not None else None  # counted where it was served
    return replace(row, messages=messages, reply=mask(row.reply), original=original)


def _drop_common(rows: Sequence[SnapshotRow], salt: str) -> list[SnapshotRow]:
    """Leaves out held-out rows of most contexts that many conversations share.

    Else the rule of overlaps would take such a context, as a greeting or an app's suggestions, from training wherever
    it stands. Of a quarter of them, by the hash that deals the rows without a conversation, the held-out rows stay.
    A row is only ever left out, never dealt anew, so none that was held out comes to train.
    """
    conversations: defaultdict[str, set[str]] = defaultdict(set)
    for item in rows:
        if not item.row.is_unrated:  # they change nothing for the others
            conversations[context_cluster(item.row.context)].add(item.row.cluster)
    common = {context for context, found in conversations.items() if len(found) >= COMMON_CONVERSATIONS}
    trained = {context for context in common if assign_split(context, salt) is not Split.HOLDOUT}
    return [
        item for item in rows if item.split is not Split.HOLDOUT or context_cluster(item.row.context) not in trained
    ]


def _drop_overlaps(rows: Sequence[SnapshotRow]) -> list[SnapshotRow]:
    """Leaves out training and dev rows that would give a gate row away.

    Those are the rows that share a run of words with a held-out context or reference reply, or that have the
    context of a held-out row. A served reply is no reference: stock phrases would tie half the pool together.
    """
    held_out = [item.row for item in rows if item.split is Split.HOLDOUT]
    contexts = {context_cluster(row.context) for row in held_out}
    runs: set[str] = set()
    for row in held_out:
        runs |= list_word_runs(row.context)
        if row.kind is not RowKind.REPLY:
            runs |= list_word_runs(row.reply)

    def gives_away(row: PoolRow) -> bool:
        return context_cluster(row.context) in contexts or any(
            not runs.isdisjoint(list_word_runs(text)) for text in _list_texts(row)
        )

    return [item for item in rows if item.split is Split.HOLDOUT or not gives_away(item.row)]


def _list_texts(row: PoolRow) -> list[str]:
    """What was said in the conversation, then the reply; not the system message, which many rows share."""
    texts = [message["content"] for message in row.messages if message["role"] != "system"] + [row.reply]
    return [*texts, row.original] if row.original is not None else texts


_Rules = tuple[tuple[str, Callable[[Sequence[PoolRow]], set[int]]], ...]

# Who raters are and what they push is judged on all their rows, so these rules come before any that thins them out.
_RULES: _Rules = (
    ("empty", _find_empty),
    ("rater_quarantined", find_quarantined),
    ("pushed", find_pushed),
    ("overruled", _find_overruled),
    ("duplicate", _find_duplicates),
    ("crisis", _find_crises),
    ("echo", find_echoes),
    ("burst", find_bursts),
    ("near_duplicate", find_near_duplicates),
    ("rater_cap", _find_above_cap),
)

_UNRATED_RULES: _Rules = (
    ("empty", _find_empty),
    ("duplicate", _find_duplicates),
    ("crisis", _find_crises),
    ("echo", find_echoes),
)
