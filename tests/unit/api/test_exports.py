"""Feedback as a file."""

from __future__ import annotations

import csv
import io
import json

import pytest

from api.exports import ExportFormat, neutralise, stream_feedback
from data.ingestion import read_examples
from data.vocabulary import Rating
from db.feedback import FeedbackFilter, FeedbackValues, put_feedback
from db.session import Database
from tests.rows import add_client, add_completion

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=2")
QUOTED = 'He said "no",\nand left.'
UP = FeedbackValues(rater_kind="end_user", rating=Rating.UP, comment="=1+1", reasons=("=x",), scores={"safety": 5})
DOWN = FeedbackValues(rater_kind="end_user", rating=Rating.DOWN)


def export(database: Database, form: ExportFormat, wanted: FeedbackFilter | None = None) -> str:
    return "".join(stream_feedback(database, wanted or FeedbackFilter(), form))


@pytest.fixture
def rated(database: Database) -> Database:
    """Replies that look like formulas, each rated."""
    with database.transaction() as session:
        key_id = add_client(session)
        for number, reply in enumerate((*FORMULAS, QUOTED)):
            completion = add_completion(session, key_id, reply=reply)
            put_feedback(session, completion.id, "ann", DOWN if number == 0 else UP)
    return database


class TestStreamFeedback:
    def test_neutralises_formulas_in_csv(self, rated: Database) -> None:
        rows = list(csv.DictReader(io.StringIO(export(rated, "csv"), newline="")))
        assert [row["Response"] for row in rows] == [QUOTED, *(f"'{text}" for text in FORMULAS[::-1])]
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for row in rows for cell in row.values())
        assert (rows[0]["comment"], rows[0]["reasons"], rows[0]["scores"]) == ("'=1+1", '["=x"]', '{"safety": 5}')

    @pytest.mark.parametrize("form", ["csv", "jsonl"])
    def test_can_be_imported(self, rated: Database, form: ExportFormat) -> None:
        result = read_examples(export(rated, form).encode(), f"feedback.{form}")
        assert (result.rows_read, len(result.examples)) == (7, 7)
        assert {example.context for example in result.examples} == {"I feel alone."}
        assert [example.rating for example in result.examples] == [Rating.UP] * 6 + [Rating.DOWN]

    def test_leaves_json_lines_as_they_are(self, rated: Database) -> None:
        rows = [json.loads(line) for line in export(rated, "jsonl").splitlines()]
        assert [row["Response"] for row in rows[1:]] == list(FORMULAS[::-1])
        assert rows[0]["scores"] == {"safety": 5}

    def test_holds_only_what_is_wanted(self, rated: Database) -> None:
        text = export(rated, "jsonl", FeedbackFilter(rating=Rating.DOWN))
        assert [json.loads(line)["Response"] for line in text.splitlines()] == ["=1+1"]

    def test_is_a_header_when_there_is_nothing(self, database: Database) -> None:
        assert export(database, "csv").startswith("Context,Response,rating,")
        assert export(database, "jsonl") == ""

    def test_goes_on_beyond_one_query(self, database: Database) -> None:
        with database.transaction() as session:
            completion = add_completion(session, add_client(session))
            for number in range(1001):
                put_feedback(session, completion.id, f"rater {number}", DOWN)
        raters = [json.loads(line)["rater"] for line in export(database, "jsonl").splitlines()]
        assert raters == [f"rater {number}" for number in reversed(range(1001))]


class TestNeutralise:
    @pytest.mark.parametrize("cell", FORMULAS)
    def test_makes_text_of_formulas(self, cell: str) -> None:
        assert neutralise(cell) == f"'{cell}"

    @pytest.mark.parametrize("cell", ["", "a=1", " =1", "'=1"])
    def test_leaves_text_alone(self, cell: str) -> None:
        assert neutralise(cell) == cell
