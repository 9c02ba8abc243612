"""The two figures of the benchmark of the gate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

matplotlib.rcParams["svg.hashsalt"] = "gate"  # the same bytes for the same numbers


def draw_qq(whole: Sequence[float], better: Sequence[float], file: Path) -> None:
    """p of equal models against a uniform one, both on log axes: above the line is conservative."""
    figure = Figure(figsize=(5, 4.5))
    axes = figure.subplots()
    expected = (np.arange(len(whole)) + 0.5) / len(whole)
    axes.loglog(expected, expected, color="#888", linewidth=1, label="uniform")
    axes.loglog(expected, np.sort(better), ".", markersize=3, color="#3b5b92", label="better alone")
    axes.loglog(expected, np.sort(whole), ".", markersize=3, color="#1f6f5c", label="whole gate")
    axes.set_xlabel("expected p of equal models")
    axes.set_ylabel("observed p")
    axes.legend(frameon=False)
    _save(figure, file)


def draw_power(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """Share promoted over the planted gain, with the formula's curve."""
    figure = Figure(figsize=(6, 4))
    axes = figure.subplots()
    for size in sorted({row["clusters"] for row in rows}):
        of_size = [row for row in rows if row["clusters"] == size]
        axes.plot(
            [row["lift_mde"] for row in of_size],
            [row["promoted"] for row in of_size],
            "o-",
            markersize=4,
            label=f"{size} conversations",
        )
    of_size = [row for row in rows if row["clusters"] == rows[0]["clusters"]]
    axes.plot([row["lift_mde"] for row in of_size], [row["formula"] for row in of_size], "k--", label="formula")
    axes.axhline(0.8, color="#888", linewidth=0.7)
    axes.set_xlabel("planted gain, in smallest detectable differences")
    axes.set_ylabel("share promoted")
    axes.legend(frameon=False)
    _save(figure, file)


def _save(figure: Figure, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.tight_layout()
    figure.savefig(file, metadata={"Date": None})
