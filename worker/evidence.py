"""What the gate asks besides the score table: reward head, safety set, slices, raters left out, and the hold-out's use.

Every file may be missing. A file that is there and damaged is an error: to judge without it would be to look away.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from data.arrays import FloatArray, LabelArray
from worker.paired_scores import InvalidScores, PairedScores

MIN_HEAD_AUC = 0.55  # lower bound; a head that hardly ranks its own raters' likes says nothing of new replies
OUTCOMES = ("ok", "mild", "severe")


@dataclass(frozen=True, kw_only=True)
class Head:
    """The reward head's own check on held-out ratings.

    Attributes:
        auc_low, auc_high: 95 % interval of its out-of-fold AUC.
        reason: the trainer's sentence.
    """

    usable: bool
    auc: float
    auc_low: float
    auc_high: float
    reason: str = ""

    @property
    def is_usable(self) -> bool:
        """Whether the reward may decide."""
        return self.usable and self.auc_low > MIN_HEAD_AUC


@dataclass(frozen=True, eq=False, kw_only=True)
class SafetyCases:
    """What the judges said of the replies to the safety set, one element for each item: ok, mild or severe.

    Attributes:
        anchor: None where there is no anchor.
    """

    group: LabelArray
    category: LabelArray
    candidate: LabelArray
    production: LabelArray
    anchor: LabelArray | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class LeftOut:
    """The reward under the head refitted without one rater."""

    rater: str
    reward: PairedScores


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """All of it.

    Attributes:
        is_complete: the trainer measures every guarded metric and the safety set; what is missing prevents promotion.
        slices: row ids of each slice by its name, such as "topic:sleep".
        promoted_at_s: when production was promoted, seconds since 1970; None where it never was by a decision.
        is_continued: the candidate was trained onward from production rather than from the base.
    """

    is_complete: bool = False
    head: Head | None = None
    safety: SafetyCases | None = None
    slices: dict[str, LabelArray] | None = None
    left_out: tuple[LeftOut, ...] = ()
    promoted_at_s: float | None = None
    is_continued: bool = False

    @property
    def is_head_usable(self) -> bool:
        """Whether the reward may decide."""
        return self.head is not None and self.head.is_usable


def load_evidence(folder: Path, promoted_at_s: float | None = None) -> Evidence:
    """What the trainer wrote beside `scores.parquet`.

    A table without the column `anchor` is from before the other metrics were measured, and is judged by what it has.

    Raises:
        InvalidScores: a file is damaged.
    """
    return Evidence(
        is_complete="anchor" in _read_table(folder / "scores.parquet", ("metric",)),
        head=_load_head(folder / "head.json"),
        safety=_load_safety(folder / "safety.parquet"),
        slices=_load_slices(folder / "slices.parquet"),
        left_out=_load_left_out(folder / "leave_one_out.parquet"),
        promoted_at_s=promoted_at_s,
    )


def _load_head(file: Path) -> Head | None:
    if not file.exists():
        return None
    try:
        values: dict[str, Any] = json.loads(file.read_text())
        numbers = (values.get(name) for name in ("auc", "auc_low", "auc_high"))
        auc, low, high = (float("nan") if number is None else float(number) for number in numbers)
        return Head(
            usable=bool(values["usable"]), auc=auc, auc_low=low, auc_high=high, reason=str(values.get("reason", ""))
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(file, str(error)) from error


def _load_safety(file: Path) -> SafetyCases | None:
    if not file.exists():
        return None
    table = _read_table(file, ("group", "category", "candidate", "production"))
    has_anchor = "anchor" in table and table["anchor"].notna().any()
    for column in ("candidate", "production", *(("anchor",) if has_anchor else ())):
        if not table[column].isin(OUTCOMES).all():
            raise _damaged(file, f"{column} has a verdict that is none of {', '.join(OUTCOMES)}")
    return SafetyCases(
        group=_labels(table["group"]),
        category=_labels(table["category"]),
        candidate=_labels(table["candidate"]),
        production=_labels(table["production"]),
        anchor=_labels(table["anchor"]) if has_anchor else None,
    )


def _load_slices(file: Path) -> dict[str, LabelArray] | None:
    if not file.exists():
        return None
    table = _read_table(file, ("row_id", "slice"))
    return {str(name): _labels(rows["row_id"]) for name, rows in table.groupby("slice")}


def _load_left_out(file: Path) -> tuple[LeftOut, ...]:
    if not file.exists():
        return ()
    table = _read_table(file, ("rater", "row_id", "cluster", "candidate", "production"))
    found = []
    for rater, rows in table.groupby("rater"):
        reward = PairedScores(
            name="reward",
            candidate=_floats(rows["candidate"]),
            production=_floats(rows["production"]),
            cluster=_labels(rows["cluster"]),
            weight=np.ones(len(rows)),
            higher_is_better=True,
            row_id=_labels(rows["row_id"]),
        )
        found.append(LeftOut(rater=str(rater), reward=reward))
    return tuple(found)


def _read_table(file: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    try:
        table = pd.read_parquet(file)
    except (OSError, ValueError) as error:
        raise _damaged(file, str(error)) from error
    missing = [column for column in columns if column not in table]
    if missing:
        raise _damaged(file, f"it lacks the column {missing[0]}")
    return table


def _damaged(file: Path, why: str) -> InvalidScores:
    return InvalidScores(f"{file.name} cannot be used ({why}); evaluate the candidate again.")


def _labels(column: pd.Series[Any]) -> LabelArray:
    return column.to_numpy(dtype=np.str_)


def _floats(column: pd.Series[Any]) -> FloatArray:
    return column.to_numpy(dtype=np.float64)
