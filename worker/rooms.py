"""Where a candidate's scores may lie beside those of another model and still be no worse, and the tests of that."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from data import statistics
from data.arrays import FloatArray


@dataclass(frozen=True)
class Room:
    """How far the candidate's mean may lie below that of the other model, and above it where more is as bad as less."""

    below: float
    above: float | None = None

    def test_inside(self, gains: FloatArray) -> float:
        """The p of being inside, on every side that is tested."""
        p = statistics.hall_t_test(gains, self.below)
        return p if self.above is None else max(p, statistics.hall_t_test(-gains, self.above))

    def test_outside(self, gains: FloatArray) -> float:
        """The p of being outside, on any side that is tested."""
        p = statistics.hall_t_test(-gains, -self.below)
        return p if self.above is None else min(1.0, 2 * min(p, statistics.hall_t_test(gains, -self.above)))

    def get_margin(self, gains: FloatArray) -> float:
        """The margin on the side where the candidate is."""
        return self.below if self.above is None or gains.sum() < 0 else self.above


@dataclass(frozen=True)
class RareRoom(Room):
    """Of what hardly ever happens and then does harm: conversations are counted, for a t sees no variance in none.

    Where even no case at all would not show at `level` that the share stays within the margin, not one conversation
    more may have it.
    """

    level: float = 0.0

    def can_show(self, gains: FloatArray) -> bool:
        """Whether so many conversations can show anything."""
        return statistics.can_show_share(self._count_allowed(gains), self.level)

    def test_inside(self, gains: FloatArray) -> float:
        """The exact p of being inside; 0 or 1 where none could be shown."""
        if not self.can_show(gains):
            return float(np.count_nonzero(gains < 0) > np.count_nonzero(gains > 0))
        return self._test(gains)[0]

    def test_outside(self, gains: FloatArray) -> float:
        """The exact p of being outside."""
        return self._test(gains)[1]

    def _test(self, gains: FloatArray) -> tuple[float, float]:
        losses, wins = int(np.count_nonzero(gains < 0)), int(np.count_nonzero(gains > 0))
        return statistics.share_test(losses, wins, self._count_allowed(gains))

    def _count_allowed(self, gains: FloatArray) -> int:
        return math.floor(self.below * len(gains))
