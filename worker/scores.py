"""Reads the score table that the trainer wrote: long format, one line for each metric and hold-out row."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from data.arrays import FloatArray, LabelArray
from worker.paired_scores import InvalidScores, PairedScores, RatedScores

RATING_SCORE = "rating_score"
_LOWER_IS_BETTER = frozenset({"log_perplexity", "repetition", "filtered"})
_COLUMNS = ("metric", "row_id", "cluster", "weight", "is_up", "candidate", "production")


def load_scores(path: Path) -> tuple[list[PairedScores], RatedScores | None]:
    """The metrics in order of appearance, and the scores of rated replies, None when there are none.

    A missing score becomes not-a-number, which the gate refuses. The columns anchor, previous, reference, rater
    and created_at_s may be missing, or empty for a metric: then there is nothing to compare with.

    Raises:
        InvalidScores: the file is no score table, or a rated reply lacks its rating.
    """
    table = _read(path)
    rated = table[table["metric"] == RATING_SCORE]
    others = table[table["metric"] != RATING_SCORE]
    paired = [_build_paired(str(name), rows) for name, rows in others.groupby("metric", sort=False)]
    return paired, _build_rated(rated) if len(rated) else None


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise InvalidScores(
            f"{path.name} cannot be read as a score table ({error}); evaluate the candidate again."
        ) from error
    missing = [column for column in _COLUMNS if column not in table]
    if missing:
        raise InvalidScores(f"{path.name} lacks the column {missing[0]}; evaluate the candidate again.")
    return table


def _build_paired(name: str, rows: pd.DataFrame) -> PairedScores:
    return PairedScores(
        name=name,
        candidate=rows["candidate"].to_numpy(dtype=np.float64),
        production=rows["production"].to_numpy(dtype=np.float64),
        cluster=rows["cluster"].to_numpy(dtype=np.str_),
        weight=rows["weight"].to_numpy(dtype=np.float64),
        higher_is_better=name not in _LOWER_IS_BETTER,
        anchor=_find_numbers(rows, "anchor"),
        previous=_find_numbers(rows, "previous"),
        reference=_find_numbers(rows, "reference"),
        row_id=rows["row_id"].to_numpy(dtype=np.str_),
        created_at_s=_find_numbers(rows, "created_at_s"),
        rater=_find_raters(rows),
    )


def _build_rated(rows: pd.DataFrame) -> RatedScores:
    if rows["is_up"].isna().any():
        raise InvalidScores("A rated reply lacks its rating; evaluate the candidate again.")
    return RatedScores(
        candidate=rows["candidate"].to_numpy(dtype=np.float64),
        production=rows["production"].to_numpy(dtype=np.float64),
        is_up=rows["is_up"].to_numpy(dtype=np.bool_),
        cluster=rows["cluster"].to_numpy(dtype=np.str_),
        anchor=_find_numbers(rows, "anchor"),
        rater=_find_raters(rows),
        row_id=rows["row_id"].to_numpy(dtype=np.str_),
        created_at_s=_find_numbers(rows, "created_at_s"),
    )


def _find_numbers(rows: pd.DataFrame, column: str) -> FloatArray | None:
    """A column that may be missing; None also where it is empty."""
    if column not in rows or rows[column].isna().all():
        return None
    return rows[column].to_numpy(dtype=np.float64)


def _find_raters(rows: pd.DataFrame) -> LabelArray | None:
    if "rater" not in rows or rows["rater"].isna().all():
        return None
    return rows["rater"].fillna("").to_numpy(dtype=np.str_)
