"""Charts as SVG that we draw ourselves; the stylesheet colours them for light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

_WIDTH = 720.0


@dataclass(frozen=True)
class Interval:
    """A value with its interval on a line of a chart; without bounds only the value is drawn."""

    label: str
    value: float
    low: float | None
    high: float | None
    note: str  # on the right
    kind: str = ""  # better, worse or nothing


def draw_days(days: Sequence[tuple[str, int, int]]) -> Markup:
    """Stacked bars of ups and downs, one for each day with its label."""
    height, left, base = 200.0, 52.0, 172.0
    top = max((ups + downs for _, ups, downs in days), default=0) or 1
    step = (_WIDTH - left) / max(len(days), 1)
    parts = [_grid(left, base, 12.0, top)]
    for position, (label, ups, downs) in enumerate(days):
        x, wide = left + position * step + 1.5, max(step - 3.0, 1.0)
        up_height, down_height = (base - 12.0) * ups / top, (base - 12.0) * downs / top
        title = Markup("<title>{}: {} up, {} down</title>").format(label, ups, downs)
        parts.append(_rect(x, base - up_height, wide, up_height, "up", title))
        parts.append(_rect(x, base - up_height - down_height, wide, down_height, "down", title))
        if (len(days) - 1 - position) % 7 == 0:
            is_last = position == len(days) - 1
            parts.append(_text(x + wide if is_last else x + wide / 2, base + 18.0, label, "end" if is_last else "mid"))
    return _svg(height, "Ratings of each day, up and down", parts)


def draw_shares(rows: Sequence[Interval]) -> Markup:
    """Shares from 0 to 100 % with their intervals."""
    return _draw_intervals(rows, 0.0, 1.0, 0.5, "Share of ratings up, with 95 % intervals", ("0 %", "100 %"))


def draw_forest(rows: Sequence[Interval]) -> Markup:
    """Differences, each in units of its own: every line is scaled to its own interval, and the dashed line is 0."""
    scaled = [_scale(row) for row in rows]
    return _draw_intervals(scaled, -1.0, 1.0, 0.0, "Differences with their 95 % intervals", None)


def draw_lines(series: Sequence[tuple[str, Sequence[tuple[float, float]]]], x_label: str, y_label: str) -> Markup:
    """One line for each series of (x, y), drawn over one another."""
    height, left, base, first = 220.0, 60.0, 182.0, 14.0
    points = [point for _, line in series for point in line]
    if not points:
        return Markup("")
    xs, ys = [x for x, _ in points], [y for _, y in points]
    x_low, x_high, y_low, y_high = min(xs), max(max(xs), min(xs) + 1e-9), min(ys), max(max(ys), min(ys) + 1e-9)

    def place(x: float, y: float) -> str:
        across = left + (_WIDTH - left - 8.0) * (x - x_low) / (x_high - x_low)
        down = base - (base - first) * (y - y_low) / (y_high - y_low)
        return f"{across:.1f},{down:.1f}"

    parts = [_line(left, y, _WIDTH - 8.0, y, "grid-line") for y in (first, (first + base) / 2, base)]
    for y, value in ((first, y_high), (base, y_low)):
        parts.append(_text(left - 8.0, y + 4.0, f"{value:.2f}", "end"))
    for position, (_, line) in enumerate(series):
        path = " ".join(place(x, y) for x, y in line)
        kind = "line second" if position else "line"
        parts.append(Markup('<polyline class="{}" points="{}"/>').format(kind, path))
    parts.append(_text(left, base + 20.0, f"{x_label} {x_low:g}"))
    parts.append(_text(_WIDTH - 8.0, base + 20.0, f"{x_high:g}", "end"))
    return _svg(height, f"{y_label} over {x_label}", parts)


def draw_histograms(before: Sequence[float], after: Sequence[float], unit: str, bins: int = 16) -> Markup:
    """How many values fall into each of equal bins, before and after side by side."""
    height, left, base, first = 200.0, 52.0, 168.0, 12.0
    top_value = max([*before, *after, 1.0])
    counts = [_count(values, top_value, bins) for values in (before, after)]
    top = max(max(counts[0]), max(counts[1]), 1)
    step = (_WIDTH - left) / bins
    parts = [_grid(left, base, first, top)]
    for series, kind in enumerate(("before", "after")):
        for position, count in enumerate(counts[series]):
            x = left + position * step + 2.0 + series * (step - 4.0) / 2
            tall = (base - first) * count / top
            low, high = top_value * position / bins, top_value * (position + 1) / bins
            title = Markup("<title>{} to {} {}, {}: {} replies</title>").format(
                f"{low:.0f}", f"{high:.0f}", unit, kind, count
            )
            parts.append(_rect(x, base - tall, (step - 4.0) / 2 - 1.0, tall, kind, title))
    for position in (0, bins // 2, bins):
        anchor = "" if position == 0 else "end" if position == bins else "mid"
        parts.append(_text(left + position * step, base + 18.0, f"{top_value * position / bins:.0f} {unit}", anchor))
    return _svg(height, f"How long replies are, in {unit}", parts)


def draw_cloud(words: Sequence[tuple[str, int]]) -> Markup:
    """Words by how often they occur, the larger the more often."""
    top = max((count for _, count in words), default=1)
    spans = Markup(" ").join(
        Markup('<span style="font-size:{}rem;opacity:{}" title="{} times">{}</span>').format(
            f"{0.85 + 1.15 * (count / top) ** 0.6:.2f}", f"{0.72 + 0.28 * count / top:.2f}", count, word
        )
        for word, count in sorted(words)
    )
    return Markup('<div class="cloud">{}</div>').format(spans)


def draw_bar(share: float, label: str) -> Markup:
    """How much of something is done, 0 to 1."""
    percent = f"{100 * min(max(share, 0.0), 1.0):.0f}"
    return Markup(
        '<div class="bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" aria-valuenow="{0}" '
        'aria-label="{1}"><span style="width:{0}%"></span></div>'
    ).format(percent, label)


def draw_funnel(steps: Sequence[tuple[str, int, bool]]) -> Markup:
    """Rows that are left at each step, or go out at it; (name, rows, whether they go out)."""
    top = max((rows for _, rows, _ in steps), default=0) or 1
    lines = Markup("").join(
        Markup(
            '<div class="{}"><span>{}</span><i style="width:{}%"></i><span class="number">{} rows</span></div>'
        ).format("out" if is_out else "", name, f"{100 * rows / top:.1f}", f"{rows:,}")
        for name, rows, is_out in steps
    )
    return Markup('<div class="funnel">{}</div>').format(lines)


def _draw_intervals(
    rows: Sequence[Interval], low: float, high: float, zero: float | None, title: str, ends: tuple[str, str] | None
) -> Markup:
    """Lines of HTML, so that they fit a phone: name, track, note."""

    def place(value: float) -> float:
        return 100 * (min(max(value, low), high) - low) / (high - low)

    lines = []
    for row in rows:
        marks = Markup("")
        if zero is not None:
            marks += Markup('<i class="zero" style="left:{:.1f}%"></i>').format(place(zero))
        if row.low is not None and row.high is not None:
            begin, end = place(row.low), place(row.high)
            marks += Markup('<i class="whisker {}" style="left:{:.1f}%;width:{:.1f}%"></i>').format(
                row.kind, begin, end - begin
            )
        marks += Markup('<b class="dot {}" style="left:{:.1f}%"></b>').format(row.kind, place(row.value))
        lines.append(
            Markup(
                '<div role="listitem"><span class="label">{}</span><span class="track" aria-hidden="true">{}</span>'
                '<span class="note">{}</span></div>'
            ).format(row.label, marks, row.note)
        )
    scale = Markup("")
    if ends:
        scale = Markup('<div class="ends" aria-hidden="true"><span></span><span>{}</span><span>{}</span></div>').format(
            *ends
        )
    return Markup('<div class="intervals"><div role="list" aria-label="{}">{}</div>{}</div>').format(
        title, Markup("").join(lines), scale
    )


def _scale(row: Interval) -> Interval:
    """The interval on a scale on which its farthest bound is 0.85 from 0."""
    reach = max(abs(value) for value in (row.value, row.low or 0.0, row.high or 0.0)) or 1.0
    low, high = (None if bound is None else 0.85 * bound / reach for bound in (row.low, row.high))
    return Interval(row.label, 0.85 * row.value / reach, low, high, row.note, row.kind)


def _count(values: Sequence[float], top: float, bins: int) -> list[int]:
    counts = [0] * bins
    for value in values:
        counts[min(int(bins * value / top), bins - 1)] += 1
    return counts


def _grid(left: float, base: float, first: float, top: int) -> Markup:
    """The lines at nothing and at the most, with their numbers."""
    lines = [_line(left, y, _WIDTH, y, "grid-line") for y in (first, base)]
    return Markup("").join(
        [*lines, _text(left - 6.0, first + 4.0, f"{top:,}", "end"), _text(left - 6.0, base + 4.0, "0", "end")]
    )


def _rect(x: float, y: float, width: float, height: float, kind: str, title: Markup) -> Markup:
    numbers = (f"{number:.1f}" for number in (x, y, width, height))
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}" rx="1.5">{}</rect>').format(
        kind, *numbers, title
    )


def _line(x: float, y: float, x_end: float, y_end: float, kind: str) -> Markup:
    numbers = (f"{number:.1f}" for number in (x, y, x_end, y_end))
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(kind, *numbers)


def _text(x: float, y: float, text: str, kind: str = "") -> Markup:
    return Markup('<text class="{}" x="{}" y="{}">{}</text>').format(kind, f"{x:.1f}", f"{y:.1f}", text)


def _svg(height: float, title: str, parts: Sequence[Markup]) -> Markup:
    body = Markup("").join(parts)
    return Markup('<svg class="chart" viewBox="0 0 {} {}" role="img" aria-label="{}">{}</svg>').format(
        f"{_WIDTH:.0f}", f"{height:.0f}", title, body
    )
