"""Bursts: more ratings at once than a person gives, from one account or from a crowd of new ones."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence

from data.near_duplicates import label_near_duplicates
from data.vocabulary import PoolRow

BURST_RATINGS = 30  # the most that one rater gives within BURST_WINDOW_S and is believed
BURST_WINDOW_S = 60.0
CROWD_ACCOUNTS = 3  # new accounts with nearly the same prompt and the same rating: from so many on one row is kept
CROWD_WINDOW_S = 3600.0  # an account is new for so long after its first rating


def find_bursts(rows: Sequence[PoolRow]) -> set[int]:
    """Ratings beyond BURST_RATINGS kept ones of the same rater within BURST_WINDOW_S, and what crowds repeat."""
    return _find_floods(rows) | _find_crowds(rows)


def _find_floods(rows: Sequence[PoolRow]) -> set[int]:
    kept_at_s: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=BURST_RATINGS))
    found = set()
    for position, row in _sort_ratings(rows):
        assert row.rater is not None
        recent = kept_at_s[row.rater]
        if len(recent) == BURST_RATINGS and row.created_at_s - recent[0] < BURST_WINDOW_S:
            found.add(position)
        else:
            recent.append(row.created_at_s)
    return found


def _find_crowds(rows: Sequence[PoolRow]) -> set[int]:
    """What new accounts say after the first of them, where CROWD_ACCOUNTS or more ask and rate nearly the same within
    CROWD_WINDOW_S.

    Without times (all at 0) nobody is new: whether accounts came together cannot be said then.
    """
    first_at_s: dict[str, float] = {}
    crowds: defaultdict[object, list[int]] = defaultdict(list)
    labels = label_near_duplicates([row.context for row in rows])
    for position, row in _sort_ratings(rows):
        assert row.rater is not None
        began_s = first_at_s.setdefault(row.rater, row.created_at_s)
        if row.created_at_s > 0 and not row.is_expert and row.created_at_s - began_s < CROWD_WINDOW_S:
            crowds[labels[position], row.rating].append(position)
    found: set[int] = set()
    for positions in crowds.values():
        found |= _collapse(rows, positions)
    return found


def _collapse(rows: Sequence[PoolRow], positions: list[int]) -> set[int]:
    """Those after the first of each stretch of CROWD_WINDOW_S, if enough accounts are in it."""
    found: set[int] = set()
    while positions:
        start_s = rows[positions[0]].created_at_s
        together = [position for position in positions if rows[position].created_at_s - start_s < CROWD_WINDOW_S]
        if len({rows[position].rater for position in together}) >= CROWD_ACCOUNTS:
            found.update(together[1:])
        positions = positions[len(together) :]
    return found


def _sort_ratings(rows: Sequence[PoolRow]) -> list[tuple[int, PoolRow]]:
    """Rated rows of raters with their positions, oldest first."""
    rated = [(position, row) for position, row in enumerate(rows) if row.rater is not None and row.rating is not None]
    return sorted(rated, key=lambda item: item[1].created_at_s)
