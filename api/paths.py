"""How names that people chose stand in a path: with slashes, and with line breaks too.

Starlette's own `path` ends before a line break at the end: erasing the user "ann\\n" would have erased "ann".
"""

from __future__ import annotations

from starlette.convertors import Convertor


class NameConvertor(Convertor[str]):
    """`{user:name}`: everything, even nothing, which the route then refuses."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """The name as it is."""
        return value

    def to_string(self, value: str) -> str:
        """The name as it is."""
        return value
