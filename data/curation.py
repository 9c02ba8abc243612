"""From the pool to the rows of a snapshot: what is left out, with counted reasons, and what is held out."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from data.cleaning import clean_text
from data.crisis import find_crisis
from data.overlap import list_word_runs
from data.preferences import select_rated, select_supervised
from data.recipe import Recipe
from data.scrubbing import scrub_text
from data.splitting import DEFAULT_SALT, assign_split, context_cluster
from data.vocabulary import Message, PoolRow, Rating, RowKind, SnapshotRow, Split

BURST_RATINGS = 30  # the most that one rater gives within BURST_WINDOW_S and is believed
BURST_WINDOW_S = 60.0
CAP_ROWS = 5
CAP_SHARE = 0.01  # of the rows that are left
CAP_FREE_RATERS = 20  # up to so many raters there is no cap


@dataclass(frozen=True)
class CurationResult:
    """The rows of a snapshot, in pool order, how many were dropped for which reason, and what was masked."""

    rows: tuple[SnapshotRow, ...]
    dropped: dict[str, int]
    scrubbed: dict[str, int] = field(default_factory=dict)  # masks by kind, before the overlaps were dropped


def build_snapshot_rows(pool: Sequence[PoolRow], salt: str = DEFAULT_SALT) -> CurationResult:
    """Sifts the pool rule by rule, each seeing what the one before left; the rest is scrubbed and split by cluster.

    No rule depends on the recipe, so runs with different recipes share their hold-out.
    """
    dropped: Counter[str] = Counter()
    rows = list(pool)
    for reason, find_unfit in _RULES:
        unfit = find_unfit(rows)
        dropped[reason] += len(unfit)
        rows = [row for position, row in enumerate(rows) if position not in unfit]
    scrubbed: Counter[str] = Counter()
    rows = [_scrub_row(row, scrubbed) for row in rows]
    split_rows = [SnapshotRow(row=row, split=assign_split(row.cluster, salt)) for row in rows]
    kept = _drop_overlaps(split_rows)
    dropped["holdout_overlap"] += len(split_rows) - len(kept)
    return CurationResult(tuple(kept), {reason: n for reason, n in dropped.items() if n}, dict(scrubbed))


def check_sufficiency(rows: Sequence[SnapshotRow], recipe: Recipe) -> tuple[str, ...]:
    """What a run of `recipe` lacks, a sentence each; empty when it may go on."""
    rated = select_rated(rows)
    ups = sum(item.row.rating is Rating.UP for item in rated)
    downs = len(rated) - ups
    missing = []
    if not any(item.split is Split.TRAIN for item in rows):
        missing.append("There are no training rows.")
    elif recipe.sft_epochs and not select_supervised(rows):
        missing.append("There is no example, correction or up-rated reply to fine-tune on.")
    if not any(item.split is Split.HOLDOUT for item in rows):
        missing.append("No row is held out, so a candidate could not be measured.")
    if recipe.preference_epochs and (ups < recipe.min_up or downs < recipe.min_down):
        needed = f"{recipe.min_up} up and {recipe.min_down} down"
        if recipe.min_up == recipe.min_down:
            needed = f"{recipe.min_up} of each"
        missing.append(
            f"There are {ups} ratings up and {downs} down in training; at least {needed} are needed "
            "(or set preference_epochs to 0)."
        )
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
        turns = tuple((message["role"], message["content"]) for message in row.messages)
        key = (turns, row.reply, row.rating, row.kind)
        if key in seen:
            found.add(position)
        seen.add(key)
    return found


def _find_crises(rows: Sequence[PoolRow]) -> set[int]:
    """Rows in which any turn or the reply signals a crisis: thumbs there reward comfort over care."""
    return {position for position, row in enumerate(rows) if any(map(find_crisis, _list_texts(row)))}


def _find_echoes(rows: Sequence[PoolRow]) -> set[int]:
    """Up-rated replies that copy a run of words from their prompt: the rater wrote what is to be learned."""
    return {
        position
        for position, row in enumerate(rows)
        if row.rating is Rating.UP and not list_word_runs(row.context).isdisjoint(list_word_runs(row.reply))
    }


def _find_bursts(rows: Sequence[PoolRow]) -> set[int]:
    """Ratings beyond BURST_RATINGS kept ones of the same rater within BURST_WINDOW_S."""
    kept_at_s: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=BURST_RATINGS))
    found = set()
    for position, row in sorted(enumerate(rows), key=lambda item: item[1].created_at_s):
        if row.rater is None or row.rating is None:
            continue
        recent = kept_at_s[row.rater]
        if len(recent) == BURST_RATINGS and row.created_at_s - recent[0] < BURST_WINDOW_S:
            found.add(position)
        else:
            recent.append(row.created_at_s)
    return found


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


def _scrub_row(row: PoolRow, counts: Counter[str]) -> PoolRow:
    """The row with its personal data masked; the masks are added to `counts`."""

    def scrub(text: str) -> str:
        scrubbed = scrub_text(text)
        counts.update(scrubbed.counts)
        return scrubbed.text

    messages = tuple(Message(role=message["role"], content=scrub(message["content"])) for message in row.messages)
    return replace(row, messages=messages, reply=scrub(row.reply))


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
    """What was said in the conversation, the reply last; not the system message, which many rows share."""
    return [message["content"] for message in row.messages if message["role"] != "system"] + [row.reply]


_RULES: tuple[tuple[str, Callable[[Sequence[PoolRow]], set[int]]], ...] = (
    ("empty", _find_empty),
    ("duplicate", _find_duplicates),
    ("crisis", _find_crises),
    ("echo", _find_echoes),
    ("burst", _find_bursts),
    ("rater_cap", _find_above_cap),
)
