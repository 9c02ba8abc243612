"""Ingestion: what is read, what is dropped, and that a bad line is named and stops everything."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from data.cleaning import clean_text
from data.errors import InvalidDataset
from data.ingestion import MAX_CELL_CHARACTERS, MAX_LISTED_PROBLEMS, read_examples
from data.vocabulary import Example, Rating

CLEAN_TEXT = st.text(st.sampled_from("ab,\"'\n;é你\U0001f600"), min_size=1).map(clean_text).filter(bool)
ROWS = st.lists(
    st.tuples(CLEAN_TEXT, CLEAN_TEXT, st.sampled_from([None, *Rating])), min_size=1, max_size=8, unique=True
)
NEEDED = "Context and Response are needed, once each, and rating may be there once"


def write_csv(rows: list[tuple[str, str, Rating | None]]) -> bytes:
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(["Context", "Response", "rating"])
    writer.writerows(rows)
    return buffer.getvalue().encode()


def write_jsonl(rows: list[tuple[str, str, Rating | None]]) -> bytes:
    records = [{"Context": context, "Response": response, "rating": rating} for context, response, rating in rows]
    return "\n".join(json.dumps(record) for record in records).encode()


def list_problems(source: bytes, name: str = "a.csv") -> list[str]:
    with pytest.raises(InvalidDataset) as caught:
        read_examples(source, name)
    return [str(problem) for problem in caught.value.problems]


class TestReadExamples:
    @given(ROWS, st.booleans())
    def test_reads_back_what_was_written(self, rows: list[tuple[str, str, Rating | None]], pack: bool) -> None:
        for source, name in ((write_csv(rows), "a.csv"), (write_jsonl(rows), "a.jsonl")):
            result = read_examples(gzip.compress(source) if pack else source, name)
            assert [(e.context, e.response, e.rating) for e in result.examples] == rows
            assert (result.rows_read, result.dropped) == (len(rows), {})

    @pytest.mark.parametrize("name", ["a.csv", "a.CSV", "a.csv.gz"])
    def test_reads_a_file_by_its_path(self, name: str, tmp_path: Path) -> None:
        content = b"Context,Response\nHello,Hi.\n"
        (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith("gz") else content)
        result = read_examples(tmp_path / name, name)
        assert result.examples == (Example(context="Hello", response="Hi.", line=2),)

    @pytest.mark.parametrize("name", ["a.txt", "a", "csv", "a.csv.zip"])
    def test_refuses_other_formats(self, name: str) -> None:
        assert list_problems(b"Context,Response\na,b\n", name) == [
            "the name must end in .csv or .jsonl, with or without .gz"
        ]

    def test_refuses_above_the_size_limit(self) -> None:
        with pytest.raises(InvalidDataset, match="at most 10 are"):
            read_examples(b"Context,Response\na,b\n", "a.csv", max_bytes=10)

    @pytest.mark.parametrize(
        ("source", "name"),
        [(b"\nContext,Response\n", "a.csv"), (b"\n\n", "a.jsonl")],
    )
    def test_refuses_above_the_row_limit(self, source: bytes, name: str) -> None:
        source += (b"a,b\n" if name == "a.csv" else b'{"Context": "a", "Response": "b"}\n') * 4
        assert read_examples(source, name, max_rows=4).rows_read == 4
        with pytest.raises(InvalidDataset, match="line 6: the file has more than 3 rows"):
            read_examples(source, name, max_rows=3)

    def test_cleans_and_counts_what_it_drops(self) -> None:
        source = b'Context,Response\n"  a\r\n b ",x\n,y\n,y\nz, \na \xe2\x80\x8b,x\n"a\n b",x\n'
        result = read_examples(source, "a.csv")
        assert [(e.context, e.response, e.line) for e in result.examples] == [
            ("a\n b", "x", 2),
            ("a", "x", 7),
        ]
        assert result.dropped == {"empty": 3, "duplicate": 1}
        assert result.rows_read == 6

    def test_keeps_one_pair_with_two_ratings(self) -> None:
        result = read_examples(b"Context,Response,rating\na,b,up\na,b,down\na,b,UP\n", "a.csv")
        assert [e.rating for e in result.examples] == [Rating.UP, Rating.DOWN]

    def test_lists_the_first_problems_and_counts_all(self) -> None:
        with pytest.raises(InvalidDataset, match=r"'a.csv' has 30 problems, the first: line 2: .*imported") as caught:
            read_examples(b"Context,Response\n" + b"a,b,c\n" * 30 + b"a,b\n", "a.csv")
        assert len(caught.value.problems) == MAX_LISTED_PROBLEMS

    @given(st.text(st.sampled_from('ab",\r\n ')))
    @example('"a\r"",\n",a,\r\r\na"b, "a,"b"')
    def test_agrees_with_the_csv_module_on_every_file(self, body: str) -> None:
        source = "Context,Response,more\r\n" + body
        try:
            result = read_examples(source.encode(), "a.csv")
        except InvalidDataset:
            return
        rows = [row for row in csv.reader(io.StringIO(source, newline="")) if row][1:]
        assert all(len(row) == 3 for row in rows)
        assert result.rows_read == len(rows)
        pairs = [(clean_text(context), clean_text(response)) for context, response, _ in rows]
        assert [(e.context, e.response) for e in result.examples] == [*dict.fromkeys(p for p in pairs if all(p))]


class TestReadExamplesFromCsv:
    def test_finds_columns_in_any_order_and_case(self) -> None:
        source = "\ufeffid, RESPONSE ,id,Rating,context\r\n1,Hi.,x,Down,Hello\r\n2,Bye.,y,,See you\r\n".encode()
        assert read_examples(source, "a.csv").examples == (
            Example(context="Hello", response="Hi.", rating=Rating.DOWN, line=2),
            Example(context="See you", response="Bye.", line=3),
        )

    def test_names_the_line_on_which_a_row_begins(self) -> None:
        source = b'\n"Context","Response"\n"a\nb\nc",x\n\n"d ""quoted""",y\r\ne,z'
        assert [e.line for e in read_examples(source, "a.csv").examples] == [3, 7, 8]
        assert list_problems(source + b'\n"f\ng",y,z\n') == ["line 9: the row has 3 cells and the header 2"]

    def test_leaves_words_that_look_like_gaps_alone(self) -> None:
        result = read_examples(b"Context,Response\nNA,null\n1.0,True\n", "a.csv")
        assert [(e.context, e.response) for e in result.examples] == [("NA", "null"), ("1.0", "True")]

    @pytest.mark.parametrize(
        ("source", "problems"),
        [
            (b"Context,Answer\na,b\n", [f"line 1: the columns found are 'Context', 'Answer'; {NEEDED}"]),
            (
                b"Context,context,Response\na,b,c\n",
                [f"line 1: the columns found are 'Context', 'context', 'Response'; {NEEDED}"],
            ),
            (
                b"Context,Response,rating,Rating\na,b,up,up\n",
                [f"line 1: the columns found are 'Context', 'Response', 'rating', 'Rating'; {NEEDED}"],
            ),
            (b"Context,Response\n", ["the file has no rows"]),
            (b"Context,Response\na\nb,c\n", ["line 2: the row has 1 cells and the header 2"]),
            (b'Context,Response\na,b\n"c,d\ne,f\n', ["line 3: a quote is opened and never closed"]),
            (
                b'Context,Response\n"a"b,c\n',
                ["line 2: text follows a closing quote; write a quote inside a quoted cell twice"],
            ),
            (
                b"Context,Response,rating\na,b,good\nc,d,up\n",
                ["line 2: rating must be up, down or empty, not 'good'"],
            ),
            (
                b"Context,Response\na," + b"x" * (MAX_CELL_CHARACTERS + 1) + b"\nb\n",
                [
                    "line 2: Response has 100,001 characters; at most 100,000 are accepted",
                    "line 3: the row has 1 cells and the header 2",
                ],
            ),
            (
                b"Context,Response\na," + b"x" * 2_000_000 + b"\n",
                ["line 2: a cell is above 100,000 characters, or its opening quote is never closed"],
            ),
            (b'"Context', ["line 1: a quote is opened and never closed"]),
        ],
    )
    def test_refuses(self, source: bytes, problems: list[str]) -> None:
        assert list_problems(source) == problems


class TestReadExamplesFromJsonl:
    def test_reads_objects_and_skips_empty_lines(self) -> None:
        source = (
            b'{"context": "a\\nb", "RESPONSE": "x", "tags": [1, {"context": 2}]}\r\n\n'
            b'{"Context": "c\xe2\x80\xa8d", "Response": "y", "rating": "up"}\n'
            b'{"Context": "e", "Response": "z", "rating": null}'
        )
        assert read_examples(source, "a.jsonl").examples == (
            Example(context="a\nb", response="x", line=1),
            Example(context="c\nd", response="y", rating=Rating.UP, line=3),
            Example(context="e", response="z", line=4),
        )

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            (b'{"Context": "a"', "the line is not JSON (Expecting ',' delimiter: line 2 column 1 (char 16))"),
            (b'["a", "b"]', "the line is not a JSON object"),
            (b'"text"', "the line is not a JSON object"),
            (b"[" * 100_000, "the line is not JSON (maximum recursion depth exceeded"),
            (b"1" * 5_000, "the line is not JSON (Exceeds the limit (4300 digits)"),
            (b"{}", f"the columns found are none; {NEEDED}"),
            (
                b'{"Context": "a", "Context": "b", "Response": "c"}',
                f"the columns found are 'Context', 'Context', 'Response'; {NEEDED}",
            ),
            (b'{"Context": 1, "Response": "b"}', "Context must be text in quotes"),
            (b'{"Context": "a", "Response": null}', "Response must be text in quotes"),
            (b'{"Context": "a", "Response": {"b": []}}', "Response must be text in quotes"),
            (b'{"Context": "a", "Response": "b", "rating": 1}', "rating must be text in quotes"),
            (
                b'{"Context": "a", "Response": "b", "rating": "meh"}',
                "rating must be up, down or empty, not 'meh'",
            ),
            (b'{"Context": "a\\u0000", "Response": "b"}', "Context holds a NUL or a lone surrogate"),
            (b'{"Context": "a", "Response": "\\ud83d"}', "Response holds a NUL or a lone surrogate"),
        ],
    )
    def test_refuses(self, line: bytes, problem: str) -> None:
        good = b'{"Context": "a", "Response": "b"}\n'
        problems = list_problems(good + line + b"\n" + good, "a.jsonl")
        assert len(problems) == 1
        assert problems[0].startswith(f"line 2: {problem}")
