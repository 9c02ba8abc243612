"""What all models share: the declarative base, its column types, random identifiers, the database's clock."""

from __future__ import annotations

import enum
import secrets
from typing import Any, ClassVar, Literal

from sqlalchemy import JSON, Enum, Float, MetaData
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

# Batch migrations on SQLite find a constraint by its name, so every one has a name.
NAMING_CONVENTION = {
    "pk": "pk_%(table_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
}

# A word of a closed set is stored as a plain string: a new word then needs no migration.
_WORD = Enum(
    enum.Enum,
    native_enum=False,
    create_constraint=False,
    length=32,
    values_callable=lambda words: [word.value for word in words],
)
_JSON = JSON(none_as_null=True)


class Base(DeclarativeBase):
    """The base of every model. Columns named `*_s` are seconds: since 1970 for a time, else a duration."""

    metadata = MetaData(naming_convention=NAMING_CONVENTION)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        enum.Enum: _WORD,
        Literal: _WORD,
        dict[str, Any]: _JSON,
        dict[str, int]: _JSON,
        list[str]: _JSON,
    }


def new_id(prefix: str) -> str:
    """A new identifier, `prefix-` and 128 random bits in hexadecimal, that nobody can guess."""
    return f"{prefix}-{secrets.token_hex(16)}"


class _DatabaseNow(FunctionElement[float]):
    """See `database_now_s`."""

    name = "database_now_s"
    type = Float()
    inherit_cache = True


@compiles(_DatabaseNow, "sqlite")
def _compile_sqlite(_element: _DatabaseNow, _compiler: SQLCompiler, **_options: Any) -> str:
    # unixepoch('subsec') needs SQLite 3.42, which not every Python 3.11 has. Julian day 2440587.5 began 1970.
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(_DatabaseNow, "postgresql")
def _compile_postgresql(_element: _DatabaseNow, _compiler: SQLCompiler, **_options: Any) -> str:
    return "CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)"


def database_now_s() -> FunctionElement[float]:
    """SQL for seconds since 1970, to the millisecond, by the database's clock, which all processes share."""
    return _DatabaseNow()
