"""The parts that pages are made of: plain HTML elements that NiceGUI keeps in step with the browser.

What people wrote only ever becomes the text of an element; `draw` takes markup that we made (see `markup`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from markupsafe import Markup
from nicegui import ui
from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement
from nicegui.events import GenericEventArguments

from api.errors import Unauthenticated, build_problem
from api.ui.access import EXPECTED, SIGN_IN
from api.ui.markup import ICONS, render_markdown

Fields = dict[str, list[str]]  # what a form holds, by name
Handler = Callable[[Any], Awaitable[None]]

# The form's fields as lists of texts; a field that is left empty is there as an empty text.
_READ_FORM = """(event) => {
    event.preventDefault();
    const fields = {};
    for (const [name, value] of new FormData(event.target, event.submitter)) (fields[name] ??= []).push(value);
    emit(fields);
}"""
_SHOW_SCORE = """(event) => {
    const value = Number(event.target.value);
    const text = value ? value + ' of 5' : 'no score';
    event.target.setAttribute('aria-valuetext', text);
    event.target.nextElementSibling.textContent = text;
}"""
SCORES = ("empathy", "relevance", "coherence", "safety")


def tag(name: str, classes: str = "", text: str | None = None, /, **attributes: Any) -> Element:
    """An HTML element; `aria_label` is written `aria-label`, and a name that ends in `_` without it (`class_`)."""
    element = TextElement(tag=name, text=text) if text is not None else ui.element(name)
    if classes:
        element.classes(classes)
    for attribute, value in attributes.items():
        if value is not None:
            element.props[_name(attribute)] = value
    return element


def say(element: Element, text: str) -> None:
    """Change the text of an element that was made with one."""
    assert isinstance(element, TextElement)
    element.text = text


def draw(markup: Markup, classes: str = "", name: str = "div") -> ui.html:
    """Markup of ours as an element. The type is the promise that all that people wrote is escaped in it."""
    element = ui.html(str(markup), sanitize=False, tag=name)
    return element.classes(classes) if classes else element


def draw_markdown(text: str, classes: str = "prose") -> ui.html:
    """What a model or a person wrote, with its markdown; the browser sifts the HTML once more."""
    return ui.html(str(render_markdown(text)), sanitize=True).classes(classes)


def icon(name: str) -> Element:
    """A decoration, which screen readers pass over."""
    return draw(ICONS[name], "icon", "span")


def button(label: str, on_click: Handler | None = None, classes: str = "", icon_name: str = "", **more: Any) -> Element:
    """A button; with an icon the label is what screen readers say, and shows where the pointer rests."""
    if icon_name:
        element = tag("button", f"button icon-only {classes}", type="button", title=label, aria_label=label, **more)
        with element:
            icon(icon_name)
    else:
        element = tag("button", f"button {classes}", label, type="button", **more)
    if on_click:
        element.on("click", guard(on_click), args=[])
    return element


def link(label: str, target: str, classes: str = "", **more: Any) -> Element:
    """A link within the server."""
    return tag("a", classes, label, href=target, **more)


def guard(handler: Handler) -> Callable[[GenericEventArguments], Awaitable[None]]:
    """A handler of events that shows an error on purpose as a sentence; who is signed out is sent to sign in.

    It runs in the context of the page, for the element that sent the event may be gone before it ends.
    """

    @wraps(handler)
    async def handle(event: GenericEventArguments) -> None:
        with event.client:
            try:
                await handler(event.args)
            except Unauthenticated:
                ui.navigate.to(SIGN_IN)
            except EXPECTED as error:
                complain(error)

    return handle


def explain(error: Exception) -> str:
    """The sentence of an error, as the HTTP interface says it."""
    errors = getattr(error, "errors", None)
    if callable(errors):  # pydantic's: the first fault, without what was sent
        fault = errors()[0]
        return f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}."
    return build_problem(error).detail


def complain(error: Exception) -> None:
    """Show an error for a while."""
    ui.notify(explain(error), classes="toast bad", position="bottom", timeout=8000, close_button="Close")


def tell(sentence: str) -> None:
    """Show that something was done."""
    ui.notify(sentence, classes="toast", position="bottom", timeout=3500)


@contextmanager
def form(on_submit: Handler, classes: str = "stack", **more: Any) -> Iterator[Element]:
    """A form; its fields go to `on_submit` as `Fields`."""
    with tag("form", classes, **more).on("submit", guard(on_submit), js_handler=_READ_FORM) as element:
        yield element


@contextmanager
def field(label: str, hint: str = "") -> Iterator[None]:
    """A label around one input."""
    with tag("label", "field"):
        with tag("span", "label", label):
            if hint:
                tag("span", "quiet", f" {hint}")
        yield


def text_area(name: str, text: str = "", rows: int = 3, **more: Any) -> Element:
    """A box for text."""
    return tag("textarea", "input", text, name=name, rows=rows, **more)


def number(name: str, value: float | str, **more: Any) -> Element:
    """A box for a number; the value is where it begins."""
    return tag("input", "input short", type="number", name=name, **{"^value": str(value)}, **more)


def check(kind: str, name: str, value: str, label: str, *, checked: bool = False, classes: str = "chip") -> Element:
    """A checkbox or radio button that looks like a chip."""
    with tag("label", classes) as chip:
        box = tag("input", "", type=kind, name=name, **{"^value": value})
        if checked:
            box.props["^checked"] = ""
        tag("span", "", label)
    return chip


def sliders(scores: dict[str, int]) -> None:
    """Four sliders of a form, 0 for no score, else 1 to 5."""
    with tag("div", "sliders"):
        for name in SCORES:
            value = scores.get(name, 0)
            text = f"{value} of 5" if value else "no score"
            with tag("label", "slider"):
                tag("span", "", name.capitalize())
                tag("input", "", type="range", min="0", max="5", step="1", name=name, aria_valuetext=text).props.update(
                    {"^value": str(value)}
                )
                tag("output", "quiet", text)


def bind_sliders(element: Element) -> None:
    """Let the sliders in a form say where they stand."""
    element.on("input", js_handler=f"(event) => {{ if (event.target.type === 'range') ({_SHOW_SCORE})(event); }}")


def read_scores(fields: Fields) -> dict[str, int]:
    """The scores that were given in a form."""
    given = {name: int(fields.get(name, ["0"])[0]) for name in SCORES}
    return {name: value for name, value in given.items() if value}


def read_text(fields: Fields, name: str) -> str | None:
    """What was written in a field of a form, None for nothing."""
    return fields.get(name, [""])[0].strip() or None


async def ask(question: str, detail: str, action: str, *, reason: str | None = None) -> str | None:
    """Ask before something is done that matters: the reason given (or the action's name), None when it is not wanted.

    With `reason` a reason is asked for, and that is what stands there first, maybe nothing.
    """
    with ui.context.client.layout, ui.dialog() as dialog, tag("div", "dialog"):
        dialog.props["aria-label"] = action

        async def submit(fields: Fields) -> None:
            dialog.submit(action if reason is None else read_text(fields, "reason") or "")

        async def cancel(_: Any) -> None:
            dialog.submit(None)

        with form(submit):
            tag("h2", "", question)
            tag("p", "quiet", detail)
            if reason is not None:
                with field("Reason", "kept in the audit trail"):
                    text_area("reason", reason, rows=2, required=True, maxlength=2000)
            with tag("div", "actions"):
                button("Cancel", cancel, autofocus=True)
                tag("button", "button strong", action, type="submit")
    answer: str | None = await dialog
    dialog.delete()
    return answer


def _name(attribute: str) -> str:
    return attribute.rstrip("_").replace("_", "-") if not attribute.startswith("^") else attribute
