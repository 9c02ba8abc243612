"""Feedback as a file that can be imported again: JSON Lines as it is, or CSV that is safe in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

from db.feedback import FeedbackFilter, list_feedback
from db.models import Completion, Feedback
from db.session import Database

ExportFormat = Literal["jsonl", "csv"]

MEDIA_TYPES: dict[ExportFormat, str] = {"jsonl": "application/jsonl", "csv": "text/csv"}
_ROWS_AT_ONCE = 500
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
_FEEDBACK_COLUMNS = ("rating", "completion_id", "rater", "rater_kind", "reasons", "comment", "correction", "scores")
_TIME_COLUMNS = ("created_at_s", "updated_at_s")
_COLUMNS = ("Context", "Response", *_FEEDBACK_COLUMNS, "version_number", *_TIME_COLUMNS)


def stream_feedback(database: Database, wanted: FeedbackFilter, form: ExportFormat) -> Iterator[str]:
    """The file, in parts; between two of them no transaction is open, so a slow reader holds nothing up."""
    render = _render_csv if form == "csv" else _render_jsonl
    if form == "csv":
        yield _render_csv([dict(zip(_COLUMNS, _COLUMNS, strict=True))])
    before: int | None = None
    while True:
        with database.reading() as session:
            rows = list_feedback(session, wanted, _ROWS_AT_ONCE, before)
        if not rows:
            return
        yield render([_build_record(*row) for row in rows])
        before = rows[-1][0].id


def neutralise(cell: str) -> str:
    """The cell as a spreadsheet takes it for text, not for a formula."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell


def _build_record(feedback: Feedback, completion: Completion) -> dict[str, Any]:
    said = {name: getattr(feedback, name) for name in (*_FEEDBACK_COLUMNS, *_TIME_COLUMNS)}
    return {
        "Context": completion.messages[-1]["content"],  # the message that was answered
        "Response": completion.reply,
        **said,
        "version_number": completion.version_number,
    }


def _render_jsonl(records: Sequence[dict[str, Any]]) -> str:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)


def _render_csv(records: Sequence[dict[str, Any]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file)
    for record in records:
        writer.writerow([_build_cell(record[name]) for name in _COLUMNS])
    return file.getvalue()


def _build_cell(value: Any) -> str:
    if value is None:
        return ""
    return neutralise(value) if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
