"""Markup that we write ourselves, as text; what people wrote goes in through `Markup.format`, which escapes it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from markdown_it import MarkdownIt
from markupsafe import Markup

Cell = str | Markup

# Raw HTML is escaped, links to scripts are text, and nothing is fetched: images are links.
_markdown = MarkdownIt("commonmark", {"html": False, "linkify": False}).disable("image").enable("table")


def render_markdown(text: str) -> Markup:
    """What a model or a person wrote, as HTML that runs nothing and loads nothing."""
    return Markup(_markdown.render(text))


def table(headings: Sequence[str], rows: Iterable[Sequence[Cell]], numbers: Iterable[int] = ()) -> Markup:
    """A table; `numbers` are the columns that are set flush right."""
    right = set(numbers)
    head = Markup("").join(_cell("th", text, position in right) for position, text in enumerate(headings))
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(_cell("td", text, position in right) for position, text in enumerate(row))
        )
        for row in rows
    )
    return Markup(
        '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table><thead><tr>{}</tr></thead>'
        "<tbody>{}</tbody></table></div>"
    ).format(head, body)


def facts(pairs: Iterable[tuple[str, Cell]]) -> Markup:
    """Names and values, one below the other."""
    rows = Markup("").join(Markup("<div><dt>{}</dt><dd>{}</dd></div>").format(*pair) for pair in pairs)
    return Markup('<dl class="facts">{}</dl>').format(rows)


def badge(text: str, kind: str = "") -> Markup:
    """A word in a coloured frame: good, bad, busy or plain."""
    return Markup('<span class="badge {}">{}</span>').format(kind, text)


def write_time(seconds: float | None) -> str:
    """A moment as people read it, in UTC; a dash for none."""
    return "–" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%d %b %Y, %H:%M UTC")


def when(seconds: float | None) -> Markup:
    """A moment that is not broken over two lines."""
    return Markup("<time>{}</time>").format(write_time(seconds))


def write_day(day: int) -> str:
    """A day, counted from 1970, as day and month."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%d %b")


def write_duration(seconds: float) -> str:
    """A duration in the unit that suits it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5_400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.0f} days"


def write_count(number: int, one: str, many: str = "") -> str:
    """A number with its unit."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _cell(name: str, text: Cell, is_number: bool) -> Markup:
    kind = Markup(' class="number"') if is_number else Markup("")
    scope = Markup(' scope="col"') if name == "th" else Markup("")
    return Markup("<{0}{1}{2}>{3}</{0}>").format(Markup(name), kind, scope, text)


def _icon(*paths: str) -> Markup:
    body = Markup("").join(Markup('<path d="{}"/>').format(path) for path in paths)
    return Markup('<svg viewBox="0 0 24 24" aria-hidden="true">{}</svg>').format(body)


ICONS = {
    "up": _icon(
        "M7 10v11H3V10z", "M7 11l4.2-8.2a2 2 0 0 1 2.8 2.2L13 9h6.2a2 2 0 0 1 2 2.4l-1.5 8A2 2 0 0 1 17.7 21H7"
    ),
    "down": _icon(
        "M7 14V3H3v11z", "M7 13l4.2 8.2a2 2 0 0 0 2.8-2.2L13 15h6.2a2 2 0 0 0 2-2.4l-1.5-8A2 2 0 0 0 17.7 3H7"
    ),
    "edit": _icon("M4 20h4L19.5 8.5a2.1 2.1 0 0 0-4-4L4 16z", "M13.5 6.5l4 4"),
    "again": _icon("M20 11a8 8 0 1 0-2.3 5.7", "M20 4v7h-7"),
    "send": _icon("M12 20V5", "M5.5 11.5 12 5l6.5 6.5"),
    "stop": _icon("M7 7h10v10H7z"),
    "left": _icon("M14.5 5.5 8 12l6.5 6.5"),
    "right": _icon("M9.5 5.5 16 12l-6.5 6.5"),
}
