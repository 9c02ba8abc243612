"""Unpacking: limits, gzip and encodings."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest

from data.errors import InvalidDataset
from data.unpacking import MAX_UNPACKED_BYTES, read_utf8, refuse

TEXT = "Context,Response\nCafé?,Yes — 你好\n"


class TestReadUtf8:
    @pytest.mark.parametrize("packed", [TEXT.encode(), TEXT.encode("utf-8-sig"), gzip.compress(TEXT.encode(), mtime=0)])
    def test_gives_plain_utf8(self, packed: bytes, tmp_path: Path) -> None:
        (tmp_path / "a.csv").write_bytes(packed)
        assert read_utf8(packed, "a.csv") == read_utf8(tmp_path / "a.csv", "a.csv") == TEXT.encode()

    def test_joins_the_members_of_one_gzip_file(self) -> None:
        assert read_utf8(gzip.compress(b"one\n", mtime=0) + gzip.compress(b"two\n"), "a.csv.gz") == b"one\ntwo\n"

    def test_lets_a_small_file_have_any_ratio(self) -> None:
        assert read_utf8(gzip.compress(b"a" * 1_000_000, mtime=0), "a.csv.gz") == b"a" * 1_000_000

    @pytest.mark.parametrize(
        ("packed", "complaint"),
        [
            (b"", "the file is empty"),
            (b" \n\r\n", "the file is empty"),
            (b"\xef\xbb\xbf", "the file is empty"),
            (gzip.compress(b"", mtime=0), "the file is empty"),
            (TEXT.encode("utf-16"), "UTF-16 or UTF-32; save it as UTF-8"),
            (TEXT.encode("utf-32"), "UTF-16 or UTF-32; save it as UTF-8"),
            (TEXT.encode("utf-16-le"), "UTF-16 or UTF-32; save it as UTF-8"),
            (TEXT.encode("utf-16-be"), "UTF-16 or UTF-32; save it as UTF-8"),
            (b"Context,Response\na,caf\xe9\n", "line 2: byte 0xe9 at offset 22 is not UTF-8"),
            (b"Context,Response\na,\xed\xa0\x80\n", "line 2: byte 0xed at offset 19 is not UTF-8"),
            (b"Context,Response\na,b\nc,d\x00e\n", "line 3: there is a NUL at offset 24"),
            (gzip.compress(b"x" * 1_000_001, mtime=0), "more than 100 times its size"),
            (gzip.compress(TEXT.encode(), mtime=0)[:-9], "damaged or cut short"),
            (gzip.compress(TEXT.encode(), mtime=0) + b"more", "damaged or cut short"),
            (b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xff\xff\xff", "damaged or cut short"),
        ],
    )
    def test_refuses(self, packed: bytes, complaint: str) -> None:
        with pytest.raises(InvalidDataset, match=complaint):
            read_utf8(packed, "a.csv")

    def test_refuses_plain_text_under_a_gzip_name(self) -> None:
        with pytest.raises(InvalidDataset, match="damaged or cut short"):
            read_utf8(TEXT.encode(), "a.csv.GZ")

    def test_refuses_above_the_packed_limit_without_reading(self, tmp_path: Path) -> None:
        big = tmp_path / "a.csv"
        big.touch()
        os.truncate(big, 10**12)  # sparse: reading it would fail
        with pytest.raises(InvalidDataset, match="1,000,000,000,000 bytes; at most 50,000,000"):
            read_utf8(big, "a.csv")
        with pytest.raises(InvalidDataset, match="11 bytes; at most 10"):
            read_utf8(b"x" * 11, "a.csv", max_bytes=10)

    def test_refuses_above_the_unpacked_limit_whatever_the_ratio(self) -> None:
        noise = gzip.compress(os.urandom(4_000_000), compresslevel=1, mtime=0)
        zeros = gzip.compress(bytes(50_000_000), compresslevel=1, mtime=0) * (MAX_UNPACKED_BYTES // 50_000_000)
        with pytest.raises(InvalidDataset, match="unpacks to more than 50,000,000 bytes"):
            read_utf8(noise + zeros, "a.csv.gz")


class TestRefuse:
    def test_names_file_and_line(self) -> None:
        error = refuse("a.csv", "the row is ragged", line=3)
        assert error.message == "'a.csv': line 3: the row is ragged."
        assert error.problems[0].line == 3
