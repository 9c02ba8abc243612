"""Personal data in text, found by libraries that know the numbers and by patterns, and masked: [EMAIL], [PHONE] …

It prefers a false alarm to a miss where the form says enough. A name is found only where its surroundings announce
it ("my name is", "Mr."): to know one by itself would take a language model.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from phonenumbers import Leniency, PhoneNumberMatch, PhoneNumberMatcher, PhoneNumberType, number_type
from stdnum import iban, luhn
from stdnum.us import ssn

from data.personal_patterns import ADDRESS, NAME

# Numbers written without a country code are tried as numbers of these countries.
PHONE_REGIONS = ("US", "GB", "AU", "IN", "ZA", "DE", "FR", "ES", "IT", "BR")
HELPLINE_REGIONS = ("US", "GB")  # whose toll-free numbers stay: no person has one, and a reply should name it


class PersonalKind(StrEnum):
    """What is masked."""

    URL = "url"  # only one that names a user: https://ann:secret@host/
    EMAIL = "email"
    IBAN = "iban"
    CARD = "card"
    SSN = "ssn"  # of the United States
    IP = "ip"
    PHONE = "phone"
    ADDRESS = "address"
    NAME = "name"

    @property
    def mask(self) -> str:
        """What stands in its place."""
        return f"[{self.value.upper()}]"


@dataclass(frozen=True)
class PersonalSpan:
    """Where in a text there is something personal."""

    start: int
    end: int
    kind: PersonalKind


@dataclass(frozen=True)
class ScrubbedText:
    """A text with its masks, and how many there are of each kind."""

    text: str
    counts: Counter[str]


def scrub_text(text: str) -> ScrubbedText:
    """Masks what is personal; a text without is returned as it is."""
    spans = find_personal_spans(text)
    parts, position = [], 0
    for span in spans:
        parts += [text[position : span.start], span.kind.mask]
        position = span.end
    return ScrubbedText("".join([*parts, text[position:]]), Counter(span.kind.value for span in spans))


def find_personal_spans(text: str) -> list[PersonalSpan]:
    """What is personal in `text`, in order and without overlap; the surer kind wins."""
    spans: list[PersonalSpan] = []
    rest = text
    for kind, find in _FINDERS:
        found = list(find(rest))
        if kind:
            spans += [PersonalSpan(start, end, kind) for start, end in found]
        rest = _blank(rest, found)
    return sorted(spans, key=lambda span: span.start)


def _blank(text: str, found: list[tuple[int, int]]) -> str:
    """`text` with NUL in place of what was found, so that no later kind finds it again."""
    parts, position = [], 0
    for start, end in found:
        parts += [text[position:start], "\0" * (end - start)]
        position = end
    return "".join([*parts, text[position:]])


_Finder = Callable[[str], Iterator[tuple[int, int]]]


def _match(pattern: str) -> _Finder:
    """Finds the matches of `pattern`, or of its group `found` where it has one."""
    compiled = re.compile(pattern)
    group = "found" if compiled.groupindex else 0
    return lambda text: (match.span(group) for match in compiled.finditer(text))


def _match_valid(pattern: str, is_valid: Callable[[str], bool]) -> _Finder:
    """Finds the longest valid beginning of each match: what follows a number may look like more of it."""
    compiled = re.compile(pattern)

    def find(text: str) -> Iterator[tuple[int, int]]:
        position = 0
        while match := compiled.search(text, position):
            start, end = match.span()
            cuts = (cut for cut in range(end, start, -1) if _is_word_end(text, cut) and is_valid(text[start:cut]))
            cut = next(cuts, None)
            if cut:
                yield start, cut
            position = cut or start + 1

    return find


def _is_word_end(text: str, position: int) -> bool:
    return text[position - 1].isalnum() and not text[position : position + 1].isalnum()


def _is_iban(text: str) -> bool:
    return iban.is_valid(text, check_country=False)


def _is_card(text: str) -> bool:
    digits = re.sub(r"\D", "", text)
    return len(digits) >= 12 and luhn.is_valid(digits)


def _is_ip(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).compressed != "::"
    except ValueError:
        return False


_SEVEN_DIGITS = re.compile(r"(?:\d\D{0,4}){7}")  # the library is slow, and few texts have as many together


def _match_phones(
    region: str, leniency: int = Leniency.VALID, is_wanted: Callable[[PhoneNumberMatch], bool] | None = None
) -> _Finder:
    """Finds numbers of `region`, and of any country where they are written with its code."""

    def find(text: str) -> Iterator[tuple[int, int]]:
        if not _SEVEN_DIGITS.search(text):
            return
        for match in PhoneNumberMatcher(text, region, leniency=leniency):
            if is_wanted is None or is_wanted(match):
                opens_only = match.raw_string.startswith("(") and ")" not in match.raw_string
                yield match.start + opens_only, match.end

    return find


def _is_toll_free(match: PhoneNumberMatch) -> bool:
    return number_type(match.number) == PhoneNumberType.TOLL_FREE


def _is_grouped(match: PhoneNumberMatch) -> bool:
    return not match.raw_string.isdecimal()


# The surest first. What a finder without a kind finds stays, whatever the later ones would take it for.
_FINDERS: tuple[tuple[PersonalKind | None, _Finder], ...] = (
    (
        PersonalKind.URL,
        _match(r"(?i:(?<![a-z0-9])[a-z][a-z0-9+.-]{1,15}://)[^\s/@]{1,256}@[^\s<>\"')\]]{1,2000}(?<![.,;:!?])"),
    ),
    (PersonalKind.EMAIL, _match(r"(?<!\w)\w[\w.%+'’-]{0,63}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")),
    (PersonalKind.IBAN, _match_valid(r"(?i)(?<!\w)[a-z]{2}\d{2}(?:[ -]?[a-z0-9]){11,30}(?!\w)", _is_iban)),
    (PersonalKind.CARD, _match_valid(r"(?<![\w.+])(?:1800|[2-6]\d{3})(?:[ -]?\d){8,15}(?!\w)", _is_card)),
    (PersonalKind.SSN, _match_valid(r"(?<![\w-])\d{3}([ -])\d{2}\1\d{4}(?![\w-])", ssn.is_valid)),
    (PersonalKind.IP, _match_valid(r"(?i)(?<![\w.:])(?=[\da-f]{0,4}[.:])[\da-f:.]{3,45}", _is_ip)),
    *((None, _match_phones(region, is_wanted=_is_toll_free)) for region in HELPLINE_REGIONS),
    *((PersonalKind.PHONE, _match_phones(region)) for region in PHONE_REGIONS),
    (PersonalKind.PHONE, _match_phones("US", Leniency.POSSIBLE, _is_grouped)),
    (PersonalKind.ADDRESS, _match(ADDRESS)),
    (PersonalKind.NAME, _match(NAME)),
)
