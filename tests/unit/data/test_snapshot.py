"""Snapshots: the way to disk and back, their digest, and that a half-written one is never seen."""

from __future__ import annotations

import hashlib
import json
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.curation import CurationResult
from data.errors import InvalidDataset
from data.holdout import digest_holdout
from data.snapshot import MANIFEST_FILE, ROWS_FILE, load_snapshot, save_snapshot
from data.vocabulary import Message, PoolRow, Rating, RowKind, SnapshotRow, Split

TEXT = st.text(st.characters(codec="utf-8"))
MESSAGES = st.lists(st.builds(Message, role=st.sampled_from(["user", "assistant"]), content=TEXT), min_size=1)
POOL_ROWS = st.builds(
    PoolRow,
    row_id=TEXT,
    kind=st.sampled_from(RowKind),
    cluster=TEXT,
    messages=MESSAGES.map(tuple),
    reply=TEXT,
    rating=st.none() | st.sampled_from(Rating),
    rater=st.none() | TEXT,
    is_expert=st.booleans(),
    created_at_s=st.floats(0, 1e10),
    original=st.none() | TEXT,
)
SNAPSHOT_ROWS = st.lists(st.builds(SnapshotRow, row=POOL_ROWS, split=st.sampled_from(Split)), max_size=5).map(tuple)


def build_item(kind: RowKind, rating: Rating | None, split: Split) -> SnapshotRow:
    messages = (Message(role="user", content="Hello"),)
    return SnapshotRow(
        row=PoolRow(row_id="row:1", kind=kind, cluster="c", messages=messages, reply="Hi.", rating=rating),
        split=split,
    )


RESULT = CurationResult(
    rows=(
        build_item(RowKind.EXAMPLE, None, Split.TRAIN),
        build_item(RowKind.REPLY, Rating.UP, Split.TRAIN),
        build_item(RowKind.REPLY, Rating.UP, Split.TRAIN),
        build_item(RowKind.REPLY, Rating.DOWN, Split.HOLDOUT),
    ),
    dropped={"empty": 2},
    scrubbed={"email": 3},
)


class TestSaveSnapshot:
    def test_writes_rows_and_manifest(self, tmp_path: Path) -> None:
        folder = tmp_path / "attempt-1" / "snapshot"
        manifest = save_snapshot(folder, RESULT, pool_rows=6, salt="pepper")
        assert manifest == {
            "digest": hashlib.sha256((folder / ROWS_FILE).read_bytes()).hexdigest(),
            "holdout_digest": digest_holdout(RESULT.rows),
            "counts": {"train": {"example": 1, "up": 2}, "holdout": {"down": 1}},
            "dropped": {"empty": 2},
            "scrubbed": {"email": 3},
            "pool_rows": 6,
            "salt": "pepper",
        }
        assert json.loads((folder / MANIFEST_FILE).read_bytes()) == manifest
        assert sorted(p.name for p in folder.parent.rglob("*")) == [MANIFEST_FILE, ROWS_FILE, "snapshot"]

    def test_has_the_columns_that_the_trainer_reads(self, tmp_path: Path) -> None:
        save_snapshot(tmp_path / "snapshot", RESULT, 6, "pepper")
        table = pd.read_parquet(tmp_path / "snapshot" / ROWS_FILE)
        assert list(table.columns) == [
            "row_id", "kind", "split", "cluster", "rater", "messages", "reply", "rating", "original",
            "is_expert", "created_at_s",
        ]  # fmt: skip
        assert json.loads(table.messages[0]) == [{"role": "user", "content": "Hello"}]

    def test_leaves_an_older_snapshot_as_it_was(self, tmp_path: Path) -> None:
        save_snapshot(tmp_path / "snapshot", RESULT, 6, "pepper")
        with pytest.raises(OSError, match="not empty"):
            save_snapshot(tmp_path / "snapshot", CurationResult(rows=(), dropped={}), 0, "salt")
        assert load_snapshot(tmp_path / "snapshot") == list(RESULT.rows)
        assert [p.name for p in tmp_path.iterdir()] == ["snapshot"]


class TestLoadSnapshot:
    @settings(max_examples=25)  # each flushes four times to disk
    @given(SNAPSHOT_ROWS)
    def test_gives_back_the_rows_and_the_same_digest_each_time(self, rows: tuple[SnapshotRow, ...]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            digests = {
                save_snapshot(Path(folder) / name, CurationResult(rows=rows, dropped={}), len(rows), "s")["digest"]
                for name in ("one", "two")
            }
            assert load_snapshot(Path(folder) / "one") == list(rows)
            assert len(digests) == 1

    def test_reads_a_snapshot_from_before_originals_were_kept(self, tmp_path: Path) -> None:
        manifest = save_snapshot(tmp_path, RESULT, 6, "pepper")
        table = pd.read_parquet(tmp_path / ROWS_FILE).drop(columns="original")
        table.to_parquet(tmp_path / ROWS_FILE, index=False)
        digest = hashlib.sha256((tmp_path / ROWS_FILE).read_bytes()).hexdigest()
        (tmp_path / MANIFEST_FILE).write_text(json.dumps(manifest | {"digest": digest}))
        assert load_snapshot(tmp_path) == list(RESULT.rows)

    def test_refuses_changed_rows(self, tmp_path: Path) -> None:
        save_snapshot(tmp_path, RESULT, 6, "pepper")
        content = bytearray((tmp_path / ROWS_FILE).read_bytes())
        content[100] ^= 1
        (tmp_path / ROWS_FILE).write_bytes(content)
        with pytest.raises(InvalidDataset, match="does not match its digest"):
            load_snapshot(tmp_path)

    @pytest.mark.parametrize("manifest", [None, b"", b"{}", b"[]", b"\xff"])
    def test_refuses_an_incomplete_snapshot(self, manifest: bytes | None, tmp_path: Path) -> None:
        save_snapshot(tmp_path, RESULT, 6, "pepper")
        (tmp_path / MANIFEST_FILE).unlink()
        if manifest is not None:
            (tmp_path / MANIFEST_FILE).write_bytes(manifest)
        with pytest.raises(InvalidDataset, match="is incomplete"):
            load_snapshot(tmp_path)
