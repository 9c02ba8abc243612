"""Text hygiene: one normal form for what is stored and trained on, and a check for what no store can hold."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

import regex

from data.errors import InvalidText

_LINE_ENDS = re.compile("\r\n?|[\x85\u2028\u2029]")
# C0 and C1 controls but for tab, newline and the line ends above; soft hyphen; zero-width and bidirectional
# controls; the invisible "tag" letters that smuggle instructions past a reader.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\U000e0000-\U000e007f]"
)
_SPACES = re.compile("[ \xa0\u1680\u2000-\u200a\u202f\u205f\u3000]+")
_SPACES_AT_LINE_END = re.compile(r"(?<![ \t])[ \t]+\n")  # a long run is tried once, not from each of its places
# As many as Unicode's stream-safe form (UAX 15) has on a letter: to put n in order takes the square of n.
_MOST_MARKS = 30
_MARKS = regex.compile(rf"(\p{{M}}{{{_MOST_MARKS}}})\p{{M}}+")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def clean_text(text: str) -> str:
    """The normal form of `text`: NFC, nothing invisible, single spaces, at most one empty line at a time.

    Every line end becomes a newline, tabs stay within a line, and a letter has at most 30 accents. Cleaning twice
    changes nothing more, and it takes linear time.
    """
    text = _LINE_ENDS.sub("\n", _INVISIBLE.sub("", text))
    if not text.isascii():
        text = _cut_marks(unicodedata.normalize("NFC", _cut_marks(text)))
    text = _SPACES_AT_LINE_END.sub("\n", _SPACES.sub(" ", text))
    return re.sub(r"\n{3,}", "\n\n", text).strip()


def _cut_marks(text: str) -> str:
    return _MARKS.sub(r"\1", text)


def defuse_control_tokens(text: str, control_tokens: Iterable[str]) -> str:
    """`text` without control tokens of a tokenizer: each is broken by a space after its first letter.

    Without it a message that holds `<|im_end|>` would end its own turn and forge the next.
    """
    for token in control_tokens:
        text = text.replace(token, f"{token[0]} {token[1:]}")
    return text


def check_text(text: str) -> str:
    """`text` itself, when every store can hold it.

    Raises:
        InvalidText: it holds a NUL (PostgreSQL refuses it) or a lone surrogate (UTF-8 cannot write it).
    """
    if _UNSTORABLE.search(text):
        raise InvalidText()
    return text
