"""Pages of lists. The cursor of a page is the name of the last item of the page before it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Query

from api.schemas.fields import Text

Row = TypeVar("Row")

_CURSOR = "`next_cursor` of the page before; the first page when left out."

PageLimit = Annotated[int, Query(ge=1, le=200, description="Most items on a page.")]
Cursor = Annotated[Text | None, Query(max_length=128, description=_CURSOR)]
NumberCursor = Annotated[int | None, Query(ge=0, le=2**31 - 1, description=_CURSOR)]


def cut_page(rows: Sequence[Row], limit: int, name: Callable[[Row], object]) -> tuple[Sequence[Row], str | None]:
    """Of up to `limit + 1` rows those of the page, and the cursor of the next page if there is one."""
    page = rows[:limit]
    return page, str(name(page[-1])) if len(rows) > limit else None
