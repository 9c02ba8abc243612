"""Server-sent events: one line of data, whatever the text holds."""

from __future__ import annotations

import json

from pydantic import BaseModel

from api.events import build_event


class Note(BaseModel):
    """A document."""

    text: str
    author: str = "ann"


def test_a_text_never_ends_the_line() -> None:
    text = "".join(map(chr, range(0x3000)))
    event = build_event(Note(text=text))
    line, end = event.splitlines()[:1], event.splitlines()[1:]
    assert end == [""]
    assert json.loads(line[0].removeprefix("data: "))["text"] == text


def test_has_a_name_and_chosen_fields() -> None:
    assert build_event(Note(text="a"), name="note", include={"text"}) == 'event: note\ndata: {"text":"a"}\n\n'
