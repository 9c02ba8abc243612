"""Errors: they explain themselves and survive the way between processes."""

from __future__ import annotations

import pickle

import pytest

from data.errors import (
    Conflict,
    InvalidDataset,
    InvalidRecipe,
    InvalidText,
    NotFound,
    RatchetError,
    RowProblem,
)

ERRORS = [RatchetError, InvalidDataset, InvalidRecipe, InvalidText, NotFound, Conflict]


class TestRatchetError:
    @pytest.mark.parametrize("kind", ERRORS)
    def test_says_its_docstring_by_default(self, kind: type[RatchetError]) -> None:
        assert kind().message == str(kind()) == (kind.__doc__ or "").strip() != ""

    def test_has_an_empty_message_when_nobody_wrote_a_docstring(self) -> None:
        class Silent(RatchetError):
            pass

        assert Silent().message == ""

    @pytest.mark.parametrize("kind", ERRORS)
    def test_can_be_pickled(self, kind: type[RatchetError]) -> None:
        copy = pickle.loads(pickle.dumps(kind("Because.")))
        assert (type(copy), copy.message) == (kind, "Because.")

    @pytest.mark.parametrize(
        ("kind", "builtin"),
        [
            (InvalidDataset, ValueError),
            (InvalidRecipe, ValueError),
            (InvalidText, ValueError),
            (NotFound, LookupError),
        ],
    )
    def test_is_caught_as_the_builtin_too(self, kind: type[RatchetError], builtin: type[Exception]) -> None:
        with pytest.raises(builtin):
            raise kind()


class TestInvalidDataset:
    def test_keeps_its_problems_when_pickled(self) -> None:
        problems = (RowProblem(3, "the row is ragged"),)
        assert pickle.loads(pickle.dumps(InvalidDataset("Bad.", problems))).problems == problems


class TestRowProblem:
    def test_names_the_line_unless_the_whole_file_is_wrong(self) -> None:
        assert str(RowProblem(3, "the row is ragged")) == "line 3: the row is ragged"
        assert str(RowProblem(0, "the file is empty")) == "the file is empty"
