"""The pictures of the report, as SVG text."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import cycle

import matplotlib as mpl

mpl.use("svg")  # no screen is needed

from matplotlib.figure import Figure

BEFORE, AFTER = "#8a8f98", "#1f6f5c"
_PHASES = (AFTER, "#b5651d", "#3b5b92", "#8a4f7d")


def draw_loss(records: Sequence[dict[str, float | str]]) -> str:
    """Training loss (and dev loss where it was measured) over optimiser steps, one line for each phase."""
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axes = figure.subplots()
    offset = 0.0
    phases = dict.fromkeys(str(record["phase"]) for record in records)  # in the order of their first record
    for phase, colour in zip(phases, cycle(_PHASES), strict=False):
        mine = [record for record in records if record["phase"] == phase]
        points = [(offset + float(r["step"]), float(r["loss"])) for r in mine if "loss" in r]
        dev = [(offset + float(r["step"]), float(r["eval_loss"])) for r in mine if "eval_loss" in r]
        if points:
            axes.plot(*zip(*points, strict=True), color=colour, linewidth=1.4, label=f"{phase}, training")
            offset = points[-1][0]
        if dev:
            axes.plot(*zip(*dev, strict=True), "o--", color=colour, markersize=4, label=f"{phase}, dev")
    axes.set_xlabel("optimiser step")
    axes.set_ylabel("loss")
    if axes.lines:
        axes.legend(frameon=False, fontsize=8)
    return _to_svg(figure)


def draw_lengths(before_words: Sequence[float], after_words: Sequence[float]) -> str:
    """How many replies have how many words, before and after, and the mean of each."""
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axes = figure.subplots()
    top = max([*before_words, *after_words, 1.0])
    bins = [top * i / 16 for i in range(17)]
    words = [list(before_words), list(after_words)]
    means = [sum(each) / len(each) if each else 0.0 for each in words]
    labels = [f"{name}, mean {mean:.1f}" for name, mean in zip(("before", "after"), means, strict=True)]
    axes.hist(words, bins=bins, color=[BEFORE, AFTER], label=labels)
    for mean, colour in zip(means, (BEFORE, AFTER), strict=True):
        axes.axvline(mean, color=colour, linestyle="--", linewidth=1)
    axes.set_xlabel("words in a reply")
    axes.set_ylabel("replies")
    axes.legend(frameon=False, fontsize=8)
    return _to_svg(figure)


def draw_strip(
    difference: float, low: float | None, high: float | None, margin: float | None = None, sign: int = 1
) -> str:
    """A difference with its interval beside the line of no change, and where its margin ends; for a line of a plot.

    Every strip has a scale of its own. `sign` -1 turns it round, so that better is to the right.
    """
    if low is None or high is None:
        return ""
    ends = sorted((sign * low, sign * high))
    scale = 94 / (max(abs(difference), *map(abs, ends), margin or 0.0) or 1.0)
    left, right, middle = (100 + scale * value for value in (*ends, sign * difference))
    tick = f'<path class="margin" d="M{100 - scale * margin:.1f} 2V14"/>' if margin else ""
    return (
        '<svg class="strip" viewBox="0 0 200 16" preserveAspectRatio="none" aria-hidden="true">'
        f'<path class="zero" d="M100 0V16"/>{tick}<path class="range" d="M{left:.1f} 8H{right:.1f}"/>'
        f'<circle cx="{middle:.1f}" cy="8" r="3.5" fill="currentColor"/></svg>'
    )


def _to_svg(figure: Figure) -> str:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return buffer.getvalue().partition("<svg")[1] + buffer.getvalue().partition("<svg")[2]
