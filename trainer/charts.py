"""The pictures of the report, as SVG text."""

from __future__ import annotations

import io
from collections.abc import Sequence

import matplotlib as mpl

mpl.use("svg")  # no screen is needed

from matplotlib.figure import Figure

BEFORE, AFTER = "#8a8f98", "#1f6f5c"


def draw_loss(records: Sequence[dict[str, float | str]]) -> str:
    """Training loss (and dev loss where it was measured) over optimiser steps, one line for each phase."""
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axes = figure.subplots()
    offset = 0.0
    for phase, colour in (("supervised", AFTER), ("preference", "#b5651d")):
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
    """How many replies have how many words, before and after."""
    figure = Figure(figsize=(6.4, 2.6), layout="constrained")
    axes = figure.subplots()
    top = max([*before_words, *after_words, 1.0])
    bins = [top * i / 16 for i in range(17)]
    axes.hist([list(before_words), list(after_words)], bins=bins, color=[BEFORE, AFTER], label=["before", "after"])
    axes.set_xlabel("words in a reply")
    axes.set_ylabel("replies")
    axes.legend(frameon=False, fontsize=8)
    return _to_svg(figure)


def _to_svg(figure: Figure) -> str:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, transparent=True)
    return buffer.getvalue().partition("<svg")[1] + buffer.getvalue().partition("<svg")[2]
