"""The root of every error that Ratchet raises on purpose, and those of the domain.

RatchetError
├── InvalidDataset      (ValueError)   a file or upload that cannot be imported
├── InvalidRecipe       (ValueError)   a recipe field out of range
├── InvalidText         (ValueError)   text that no store can hold
├── ReferenceGiven      (ValueError)   a score that would measure copying
├── NotFound            (LookupError)  no such row, or not yours
└── Conflict                           the state forbids it

The docstring of a class is its default message, so each error explains itself once and names the remedy.
Errors of a higher package live there and derive from `RatchetError`. All of them can be pickled: they cross processes.
"""

from __future__ import annotations

from dataclasses import dataclass


class RatchetError(Exception):
    """Ratchet could not do what was asked."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__class__.__doc__ or "").strip())

    @property
    def message(self) -> str:
        """One sentence for a person."""
        return str(self.args[0])


@dataclass(frozen=True)
class RowProblem:
    """What is wrong with one line of a file."""

    line: int  # 1-based line in the (unpacked) file; 0 when the file as a whole is wrong
    reason: str  # one sentence

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}" if self.line else self.reason


class InvalidDataset(RatchetError, ValueError):
    """The file cannot be imported; mend the lines named and import it again."""

    def __init__(self, message: str | None = None, problems: tuple[RowProblem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems

    def __reduce__(self) -> tuple[type[InvalidDataset], tuple[str, tuple[RowProblem, ...]]]:
        return (self.__class__, (self.message, self.problems))


class InvalidRecipe(RatchetError, ValueError):
    """A recipe field is out of its range."""


class InvalidText(RatchetError, ValueError):
    """The text holds a NUL or a lone surrogate, which no database can store; remove it and send it again."""


class ReferenceGiven(RatchetError, ValueError):
    """The prompt holds the reference that its reply would be scored against; score a row that hides it."""


class NotFound(RatchetError, LookupError):
    """There is no such thing, or it is not yours."""


class Conflict(RatchetError):
    """The present state does not allow this."""
