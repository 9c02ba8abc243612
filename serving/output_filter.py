"""What leaves a reply before it is sent: words that no reply may hold, and other people's data.

A reply with method information, incitement or a slur ends there, with a notice. Personal data that does not stand in
the conversation is masked, and the reply goes on. A stream is held back from the first letter that may become
one of these, and no further: a plain word goes out when the next one begins.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import regex

from data.harmful_text import flatten, locate_harmful
from data.personal_patterns import ADDRESS, NAME
from data.scrubbing import PersonalSpan, find_personal_spans

FILTER_NOTICE = "[I stopped here, because what came next could have done harm.]"
MASKED = "personal_data"  # the rule's name; the others are those of `data.harmful_text`

_TAIL_CHARS = 40  # what follows personal data so closely may belong to it, as the town after a street
_CONTEXT_CHARS = 64  # of what was sent, for the cue before a name
# The beginnings of what `find_personal_spans` finds, wider where it checks digits.
_GROWING = regex.compile(
    "|".join(
        (
            r"(?<!\w)\w[\w.%+'’-]{0,63}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}",
            r"(?<![a-zA-Z0-9])[a-zA-Z][a-zA-Z0-9+.-]{1,15}://[^\s/@]{1,256}@[^\s<>\"')\]]{1,2000}",
            r"(?<!\w)[a-zA-Z]{2}\d{2}(?:[ -]?[a-zA-Z0-9]){11,30}",
            r"(?<![\w.:])(?=[\da-fA-F]{0,4}[.:])[\da-fA-F:.]{3,45}",
            ADDRESS,
            NAME.replace("(?P<found>", "(?:"),
        )
    ),
    regex.V0,
)
_NUMBER_AT_END = re.compile(r"(?:[+(\[]{1,3}|[+(\[]{0,3}\d[\d\s().\[\]/~–-]{0,60})\Z")
_CUE = r"(?i:\bmy (?:\w+ )?name|call me|named|name:|regards|sincerely|yours)|\b(?:Mr|Mrs|Ms|Mx|Dr|Prof)\b"
_IS_CUE = re.compile(_CUE)
_MAY_BE_PERSONAL = re.compile(rf"[\d@]|::|{_CUE}")


@dataclass(frozen=True)
class FilteredText:
    """A whole reply as it would have been sent, and the rules that fired, in order."""

    text: str
    rules: tuple[str, ...]

    @property
    def is_stopped(self) -> bool:
        """Whether it ended early, which masking alone does not do."""
        return any(rule != MASKED for rule in self.rules)


class OutputFilter:
    """Passes one reply on as far as it is safe, piece by piece.

    Attributes:
        rules: what has fired, in order.
        is_stopped: nothing more will come; the reply has to end.
    """

    def __init__(self, known: str = "", notice: str = FILTER_NOTICE) -> None:
        """Args: known: the conversation, whose own data is not masked; notice: ends a stopped reply."""
        self.rules: list[str] = []
        self.is_stopped = False
        self._known = _squash(known)
        self._notice = notice
        self._text = ""  # as the model wrote it
        self._flat = ""  # the same, as `locate_harmful` reads it
        self._passed = 0  # so many characters of it are decided

    def push(self, text: str) -> str:
        """What may be sent now."""
        self._text += text
        self._flat += flatten(text)
        if self.is_stopped or (text.isalnum() and self._passed < len(self._text) - len(text)):
            return ""  # in the middle of a word that waits
        return self._decide(is_end=False)

    def finish(self) -> str:
        """What was held back and is safe after all."""
        return "" if self.is_stopped else self._decide(is_end=True)

    def _decide(self, *, is_end: bool) -> str:
        """Pass on what is decided, masked; at a harmful match, end."""
        end = len(self._text)
        growing = end if is_end else self._find_growing()
        if growing == self._passed < end:
            return ""  # nothing could be sent, whatever the rules say
        harm_start, rule = locate_harmful(self._flat, self._passed, is_end=is_end) or (end, "")
        spans = self._find_personal()
        recent = end if is_end else end - _TAIL_CHARS
        undecided = min(growing, *(span.start for span in spans if span.end > recent), end)
        limit = min(undecided, harm_start)
        limit = min(limit, *(span.start for span in spans if span.start < limit < span.end), limit)  # not half of one
        parts = self._pass_on(spans, limit)
        if rule and undecided >= harm_start:
            self.is_stopped = True
            self.rules.append(rule)
            parts.append(f"\n\n{self._notice}" if self._text[:limit].strip() else self._notice)
        return "".join(parts)

    def _pass_on(self, spans: list[PersonalSpan], limit: int) -> list[str]:
        parts = []
        for span in spans:
            if span.end <= limit:
                parts += [self._text[self._passed : span.start], span.kind.mask]
                self._passed = span.end
                self.rules.append(MASKED)
        parts.append(self._text[self._passed : limit])
        self._passed = max(limit, self._passed)
        return parts

    def _find_growing(self) -> int:
        """Where something personal may have begun that is not complete; the end of the text if nowhere."""
        end, position = len(self._text), self._passed
        number = _NUMBER_AT_END.search(self._text, max(position, end - 64))
        limit = number.start() if number else end
        while (match := _GROWING.search(self._text, position, partial=True)) and match.start() < end:
            if match.partial:
                return min(limit, match.start())
            position = match.end()
        return limit

    def _find_personal(self) -> list[PersonalSpan]:
        """Other people's data that is not yet decided."""
        offset = max(0, self._passed - _CONTEXT_CHARS)
        if not _IS_CUE.search(self._text, offset, self._passed):
            offset = max(0, self._passed - 1)  # enough for what looks behind
            if not _MAY_BE_PERSONAL.search(self._text, self._passed):
                return []
        window = self._text[offset:]
        spans = [
            replace(span, start=span.start + offset, end=span.end + offset) for span in find_personal_spans(window)
        ]
        return [
            span
            for span in spans
            if span.start >= self._passed and _squash(self._text[span.start : span.end]) not in self._known
        ]


def filter_text(text: str, known: str = "", notice: str = FILTER_NOTICE) -> FilteredText:
    """A whole reply through the filter."""
    output_filter = OutputFilter(known, notice)
    return FilteredText(output_filter.push(text) + output_filter.finish(), tuple(output_filter.rules))


def _squash(text: str) -> str:
    return re.sub(r"\W+", "", text.casefold())
