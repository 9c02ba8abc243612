"""Reading examples from CSV or JSON Lines, all or nothing, with every problem named by its line.

The csv and json modules parse, because they know which line they are on. One file may hold so much that what it
becomes stays below 300 MB of memory.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from data.cleaning import check_text, clean_text
from data.errors import InvalidDataset, InvalidText, RowProblem
from data.unpacking import MAX_PACKED_BYTES, read_utf8, refuse
from data.vocabulary import Example, Rating

MAX_CELL_CHARACTERS = 100_000
MAX_ROWS = 100_000
MAX_LISTED_PROBLEMS = 20

_TEXT_COLUMNS = ("Context", "Response")
_COLUMNS = (*_TEXT_COLUMNS, "rating")
_WANTED = "Context and Response are needed, once each, and rating may be there once"

Row = tuple[int, Mapping[str, object]]  # the line on which it begins, and the wanted columns that it has


@dataclass(frozen=True)
class IngestionResult:
    """What a file held.

    Attributes:
        examples: the cleaned rows that are left, in file order.
        dropped: rows left out by reason: `empty` (no context or reply after cleaning), `duplicate`.
        rows_read: data rows in the file; examples plus dropped.
    """

    examples: tuple[Example, ...]
    dropped: dict[str, int]
    rows_read: int


def read_examples(
    source: bytes | Path, name: str, *, max_bytes: int = MAX_PACKED_BYTES, max_rows: int = MAX_ROWS
) -> IngestionResult:
    """The examples in a `.csv` or `.jsonl` file, plain or gzipped.

    Column names may be in any case; columns other than Context, Response and rating are ignored.

    Args:
        source: the content, or where it lies.
        name: the file's name as the user knows it; its ending says the format.
        max_bytes: largest accepted size before unpacking.
        max_rows: most accepted data rows.

    Raises:
        InvalidDataset: anything is wrong with any line; nothing is imported then.
    """
    suffix = PurePath(name.lower().removesuffix(".gz")).suffix
    if suffix not in (".csv", ".jsonl"):
        raise refuse(name, "the name must end in .csv or .jsonl, with or without .gz")
    raw = read_utf8(source, name, max_bytes)
    report = _Report(name)
    rows = _list_csv_rows(raw, report) if suffix == ".csv" else _list_json_rows(raw, report)
    result = _collect(rows, max_rows, report)
    if not result.rows_read:
        raise refuse(name, "the file has no rows")
    return result


@dataclass
class _Report:
    """The problems met so far: all are counted, the first few are listed."""

    name: str
    count: int = 0
    listed: list[RowProblem] = field(default_factory=list)

    def add(self, line: int, reason: str) -> None:
        self.count += 1
        if self.count <= MAX_LISTED_PROBLEMS:
            self.listed.append(RowProblem(line, reason))

    def check(self) -> None:
        if self.count == 1:
            raise refuse(self.name, self.listed[0].reason, self.listed[0].line)
        if self.count:
            first = self.listed[0]
            message = f"{self.name!r} has {self.count:,} problems, the first: {first}. Nothing was imported."
            raise InvalidDataset(message, tuple(self.listed))


def _collect(rows: Iterator[Row], max_rows: int, report: _Report) -> IngestionResult:
    """The rows cleaned, without empty and repeated ones, once every one of them was judged."""
    lines: dict[tuple[str, ...], int] = {}  # context, response and rating -> where they stand first
    dropped: Counter[str] = Counter()
    rows_read = 0
    for line, values in rows:
        if rows_read == max_rows:
            report.add(line, f"the file has more than {max_rows:,} rows; split it")
            break
        rows_read += 1
        faults = list(_list_faults(values))
        for fault in faults:
            report.add(line, fault)
        if not faults:
            cells = _clean_cells(values)
            reason = "empty" if not (cells[0] and cells[1]) else "duplicate" if cells in lines else None
            if reason:
                dropped[reason] += 1
            else:
                lines[cells] = line
    report.check()
    return IngestionResult(tuple(map(_build_example, lines, lines.values())), dict(dropped), rows_read)


def _clean_cells(values: Mapping[str, object]) -> tuple[str, ...]:
    context, response, rating = (str(values.get(column) or "") for column in _COLUMNS)
    return clean_text(context), clean_text(response), _normalise_rating(rating)


def _build_example(cells: tuple[str, ...], line: int) -> Example:
    context, response, rating = cells
    return Example(context=context, response=response, rating=Rating(rating) if rating else None, line=line)


def _list_csv_rows(raw: bytes, report: _Report) -> Iterator[Row]:
    reader = csv.reader(io.TextIOWrapper(io.BytesIO(raw), "utf-8", newline=""), strict=True)
    header: list[str] = []
    positions: dict[str, int] = {}
    line = 1  # on which the row begins; quoted cells may span several
    try:
        for cells in reader:
            if cells and not header:
                header, positions = cells, _find_columns(cells, line, report)
                report.check()
            elif cells and len(cells) == len(header):
                yield line, {column: cells[position] for column, position in positions.items()}
            elif cells:
                report.add(line, f"the row has {len(cells)} cells and the header {len(header)}")
            line = reader.line_num + 1
    except csv.Error as error:
        report.add(line, _explain_csv_error(error))


def _explain_csv_error(error: csv.Error) -> str:
    if "limit" in str(error):
        return f"a cell is above {MAX_CELL_CHARACTERS:,} characters, or its opening quote is never closed"
    if "end of data" in str(error):
        return "a quote is opened and never closed"
    return "text follows a closing quote; write a quote inside a quoted cell twice"


class _Pairs(list[tuple[str, object]]):
    """The fields of a JSON object as written, so that a repeated name shows."""


def _list_json_rows(raw: bytes, report: _Report) -> Iterator[Row]:
    for line, text in enumerate(io.BytesIO(raw), start=1):
        if not text.strip():
            continue
        try:
            pairs = json.loads(text, object_pairs_hook=_Pairs)
        except (ValueError, RecursionError) as error:
            report.add(line, f"the line is not JSON ({str(error)[:80]})")
            continue
        if isinstance(pairs, _Pairs):
            positions = _find_columns([name for name, _ in pairs], line, report)
            yield line, {column: pairs[position][1] for column, position in positions.items()}
        else:
            report.add(line, "the line is not a JSON object")


def _find_columns(names: list[str], line: int, report: _Report) -> dict[str, int]:
    """The position of each wanted column among `names`; none when they will not do, which is reported."""
    folded = [name.strip().casefold() for name in names]
    counts = {column: folded.count(column.casefold()) for column in _COLUMNS}
    if max(counts.values()) > 1 or not all(counts[column] for column in _TEXT_COLUMNS):
        found = ", ".join(repr(name[:40]) for name in names[:10]) or "none"
        report.add(line, f"the columns found are {found}; {_WANTED}")
        return {}
    return {column: folded.index(column.casefold()) for column in _COLUMNS if counts[column]}


def _list_faults(values: Mapping[str, object]) -> Iterator[str]:
    for column, value in values.items():
        if column == "rating" and value is None:
            continue
        if not isinstance(value, str):
            yield f"{column} must be text in quotes"
        elif len(value) > MAX_CELL_CHARACTERS:
            yield f"{column} has {len(value):,} characters; at most {MAX_CELL_CHARACTERS:,} are accepted"
        elif column == "rating" and _normalise_rating(value) not in ("", *Rating):
            yield f"rating must be up, down or empty, not {value[:40]!r}"
        else:
            yield from _list_text_faults(column, value)


def _list_text_faults(column: str, text: str) -> Iterator[str]:
    try:
        check_text(text)
    except InvalidText:
        yield f"{column} holds a NUL or a lone surrogate, which no database can store"


def _normalise_rating(rating: str) -> str:
    return rating.strip().casefold()
