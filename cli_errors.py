"""What ends a command: a sentence with the remedy for each error that a person can have caused."""

from __future__ import annotations

from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy.exc import DBAPIError

from data.errors import InvalidDataset, RatchetError
from settings import Settings

Expected = RatchetError | ValidationError | SettingsError | OSError | DBAPIError
EXPECTED = (RatchetError, ValidationError, SettingsError, OSError, DBAPIError)


def describe_error(error: Expected) -> list[str]:
    """The sentence, and after it a line for each detail.

    Raises:
        ValidationError: of other values than settings; it is a fault of ours.
    """
    match error:
        case InvalidDataset():
            return [error.message, *(f"  {problem}" for problem in error.problems)]
        case RatchetError():
            return [error.message]
        case ValidationError() | SettingsError():
            return [_describe_settings(error)]
        case OSError():
            return [_describe_files(error)]
    reason = str(error.orig).splitlines()[0]
    return [
        f"The database did not answer as it should ({reason}); run `ratchet db upgrade`, or check RATCHET_VAR and "
        "RATCHET_DATABASE_URL."
    ]


def _describe_settings(error: ValidationError | SettingsError) -> str:
    """Which variables cannot be used, and why; not their values, for some are secret."""
    if isinstance(error, SettingsError):
        return f"A setting cannot be read ({error}); correct it in the environment or in .env."
    if error.title != Settings.__name__:
        raise error
    wrong = ", ".join(f"RATCHET_{str(problem['loc'][0]).upper()} ({problem['msg']})" for problem in error.errors())
    return f"Settings that cannot be used: {wrong}; correct them in the environment or in .env."


def _describe_files(error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        return (
            f"{error.filename} cannot be a folder, for a file is in the way; name another in RATCHET_VAR, or move it."
        )
    what = f"{error.filename} cannot be used" if error.filename else "Reading or writing failed"
    return (
        f"{what} ({error.strerror or error}); check the path or RATCHET_VAR, who may write there, and the free space."
    )
