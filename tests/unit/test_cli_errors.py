"""The sentences that end a command."""

from __future__ import annotations

import errno

import pytest
from pydantic import BaseModel, ValidationError

from cli_errors import describe_error
from data.errors import InvalidDataset, RowProblem
from settings import Settings


class Answer(BaseModel):
    """Something of ours that is no setting."""

    count: int


class TestDescribeError:
    def test_tells_each_problem_of_a_file(self) -> None:
        error = InvalidDataset("No.", (RowProblem(3, "It is empty."), RowProblem(0, "It is short.")))
        assert describe_error(error) == ["No.", "  line 3: It is empty.", "  It is short."]

    def test_names_the_settings_and_not_their_values(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Settings(_env_file=None, port="secret", threads=0)  # type: ignore[arg-type]
        (sentence,) = describe_error(caught.value)
        assert "RATCHET_PORT (" in sentence
        assert "RATCHET_THREADS (" in sentence
        assert "secret" not in sentence

    def test_takes_no_other_value_for_a_setting(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Answer(count="many")  # type: ignore[arg-type]
        with pytest.raises(ValidationError):
            describe_error(caught.value)

    @pytest.mark.parametrize(
        ("error", "begin"),
        [
            (
                PermissionError(errno.EACCES, "Permission denied", "/root/x"),
                "/root/x cannot be used (Permission denied);",
            ),
            (OSError(errno.ENOSPC, "No space left on device"), "Reading or writing failed (No space left on device);"),
            (OSError("odd"), "Reading or writing failed (odd);"),
        ],
    )
    def test_says_what_a_file_is_wrong_with(self, error: OSError, begin: str) -> None:
        (sentence,) = describe_error(error)
        assert sentence.startswith(begin)
