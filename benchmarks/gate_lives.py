"""Whole lives of a hold-out: 300 candidates one after the other, judged on the same rows by three rules.

A version scores quality + luck on each row, the luck being recorded row noise. Candidates are trained from the base, so
their luck is their own. Their primary quality climbs to a plateau with noise from run to run; in a guarded metric each
has lost up to one margin against the production of its time, which is how losses creep. Wrong is a promotion of what is
not better, or is worse by more than the margin than production.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from benchmarks.gate_tables import Recorded, hall_t_tests
from data.arrays import FloatArray
from data.lifetime import MAX_PROMOTIONS, spend_alpha

RULES = ("point estimate", "fixed .05", "ours")
PLATEAU, CLIMB_RUNS, RUN_NOISE = 0.30, 40.0, 0.05  # in standard deviations of a difference
MARGIN = 0.30  # the same; six standard errors at 400 rows


@dataclass
class _Lives:
    """The state of many lives under one rule; arrays are lives, or lives x rows."""

    quality: FloatArray
    guard: FloatArray
    luck: FloatArray
    guard_luck: FloatArray
    anchor_luck: FloatArray
    anchor_guard: FloatArray
    estimate: FloatArray  # of production's guard since the anchor, by recorded differences
    best: FloatArray
    promotions: FloatArray
    wrong: FloatArray
    drift: FloatArray
    history: list[float] = field(default_factory=list)


def simulate_lives(recorded: Recorded, lives: int, runs: int, rows: int, seed: int) -> dict[str, dict[str, Any]]:
    """The figures of each rule."""
    pools = [-recorded.change[:, 0], recorded.change[:, 1]]  # log-perplexity and ROUGE-L, up is better
    pools = [pool / pool.std() / np.sqrt(2) for pool in pools]
    return {rule: _summarise(_live(rule, pools, lives, runs, rows, seed)) for rule in RULES}


def _live(rule: str, pools: list[FloatArray], lives: int, runs: int, rows: int, seed: int) -> _Lives:
    generator = np.random.default_rng(seed)

    def draw(pool: FloatArray) -> FloatArray:
        return generator.choice(pool, (lives, rows)).astype(np.float64)

    zero = np.zeros(lives)
    luck, guard_luck = draw(pools[0]), draw(pools[1])
    state = _Lives(*(zero.copy(), zero.copy(), luck, guard_luck, guard_luck.copy(), *(zero.copy() for _ in range(6))))
    for k in range(1, runs + 1):
        quality = PLATEAU * (1 - np.exp(-k / CLIMB_RUNS)) + generator.normal(0, RUN_NOISE, lives)
        guard = state.guard - MARGIN * generator.uniform(0, 1, lives)
        _judge(state, rule, k, quality, guard, draw(pools[0]), draw(pools[1]))
    return state


def _judge(
    state: _Lives, rule: str, k: int, quality: FloatArray, guard: FloatArray, luck: FloatArray, guard_luck: FloatArray
) -> None:
    gains = (quality - state.quality)[:, None] + luck - state.luck
    guard_gains = (guard - state.guard)[:, None] + guard_luck - state.guard_luck
    if rule == "point estimate":
        passed = (gains.mean(axis=1) > 0) & (guard_gains.mean(axis=1) > -MARGIN)
    else:
        alpha = spend_alpha(k) if rule == "ours" else 0.05
        p = np.maximum(hall_t_tests(gains), hall_t_tests(guard_gains, MARGIN))
        if rule == "ours":
            against = (guard - state.anchor_guard)[:, None] + guard_luck - state.anchor_luck
            p = np.maximum(p, hall_t_tests(against, MARGIN))
        passed = p <= alpha
        if rule == "ours":
            passed &= state.promotions < MAX_PROMOTIONS
    is_wrong = (quality <= state.quality) | (guard < state.guard - MARGIN)
    state.wrong += passed & is_wrong
    state.promotions += passed
    state.estimate += np.where(passed, guard_gains.mean(axis=1), 0.0)
    for name, new in (("quality", quality), ("guard", guard)):
        setattr(state, name, np.where(passed, new, getattr(state, name)))
    for name, new in (("luck", luck), ("guard_luck", guard_luck)):
        setattr(state, name, np.where(passed[:, None], new, getattr(state, name)))
    is_best = passed & (state.estimate > 0)  # production is now the best ever: the anchor, and where estimates start
    state.anchor_guard = np.where(is_best, state.guard, state.anchor_guard)
    state.anchor_luck = np.where(is_best[:, None], state.guard_luck, state.anchor_luck)
    state.estimate = np.where(is_best, 0.0, state.estimate)
    state.best = np.maximum(state.best, state.guard)
    state.drift = np.maximum(state.drift, state.best - state.guard)
    state.history.append(float(state.quality.mean()))


def _summarise(state: _Lives) -> dict[str, Any]:
    lives = len(state.wrong)
    return {
        "lives": lives,
        "promotions_a_life": float(state.promotions.mean()),
        "wrong_a_life": float(state.wrong.mean()),
        "lives_with_a_wrong_one": float((state.wrong > 0).mean()),
        "worst_drift_margins": float(state.drift.max() / MARGIN),
        "mean_drift_margins": float(state.drift.mean() / MARGIN),
        "final_quality_sd": float(state.quality.mean()),
        "mean_quality_sd": float(np.mean(state.history)),
    }
