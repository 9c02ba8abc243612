"""Server-sent events: one JSON document each (https://html.spec.whatwg.org/multipage/server-sent-events.html)."""

from __future__ import annotations

from pydantic import BaseModel

# The standard ends a line at CR and LF only, but clients that split as Python does (httpx among them) end it here too.
_LINE_ENDS = {ord(end): f"\\u{ord(end):04x}" for end in "\u0085\u2028\u2029"}


def build_event(document: BaseModel, *, name: str = "", include: set[str] | None = None) -> str:
    """The event with the document, or those of its fields, as data on one line; `name` is its type."""
    data = document.model_dump_json(include=include).translate(_LINE_ENDS)
    return f"event: {name}\ndata: {data}\n\n" if name else f"data: {data}\n\n"
