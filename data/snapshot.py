"""Snapshots on disk: rows.parquet and a manifest with its sha256; the same rows give the same bytes."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from data.curation import CurationResult
from data.errors import InvalidDataset
from data.holdout import digest_holdout
from data.vocabulary import PoolRow, Rating, RowKind, SnapshotRow, Split

ROWS_FILE = "rows.parquet"
MANIFEST_FILE = "manifest.json"

# Named types, so that a column of nothing but nulls (or no rows) is written as text all the same.
_TEXT_COLUMNS = ("row_id", "kind", "split", "cluster", "rater", "messages", "reply", "rating", "original")
_TYPES = {**dict.fromkeys(_TEXT_COLUMNS, "string"), "is_expert": "bool", "created_at_s": "float64"}


def save_snapshot(
    folder: Path, result: CurationResult, pool_rows: int, salt: str, bias: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """Writes the snapshot beside `folder`, flushes it and renames it: `folder` is whole or absent.

    Args:
        folder: must not exist yet, or be empty.
        pool_rows: rows of the pool before curation.
        salt: the one that the splits were assigned with.
        bias: of the ratings in the pool, from `data.bias`.

    Returns:
        The manifest: digest, holdout_digest, counts by split and by rating or kind, dropped rows by reason, masks by
        kind, pool_rows, salt; bias, if given.

    Raises:
        OSError: `folder` holds something, or the disk refuses.
    """
    packed = _pack_rows(result.rows)
    manifest = {
        "digest": hashlib.sha256(packed).hexdigest(),
        "holdout_digest": digest_holdout(result.rows),
        "counts": _count_rows(result.rows),
        "dropped": result.dropped,
        "scrubbed": result.scrubbed,
        "pool_rows": pool_rows,
        "salt": salt,
    } | ({"bias": dict(bias)} if bias is not None else {})
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _write_durably(staging / ROWS_FILE, packed)
        _write_durably(staging / MANIFEST_FILE, json.dumps(manifest, indent=2, sort_keys=True).encode())
        _flush(staging)
        staging.rename(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _flush(folder.parent)
    return manifest


def load_snapshot(folder: Path) -> list[SnapshotRow]:
    """The rows of a snapshot, in the order in which they were saved.

    Raises:
        InvalidDataset: a file is missing, or the rows are not those that the manifest was written for.
    """
    try:
        packed = (folder / ROWS_FILE).read_bytes()
        digest = json.loads((folder / MANIFEST_FILE).read_bytes())["digest"]
    except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
        raise InvalidDataset(f"The snapshot {str(folder)!r} is incomplete; collect it again.") from error
    if hashlib.sha256(packed).hexdigest() != digest:
        raise InvalidDataset(f"The snapshot {str(folder)!r} does not match its digest; collect it again.")
    table = pd.read_parquet(io.BytesIO(packed)).astype(object)
    return [_parse_row(record) for record in table.where(table.notna(), None).to_dict("records")]


def _pack_rows(rows: Iterable[SnapshotRow]) -> bytes:
    records = [
        {
            "row_id": item.row.row_id,
            "kind": item.row.kind.value,
            "split": item.split.value,
            "cluster": item.row.cluster,
            "rater": item.row.rater,
            "messages": json.dumps(item.row.messages, ensure_ascii=False, sort_keys=True),
            "reply": item.row.reply,
            "rating": item.row.rating.value if item.row.rating else None,
            "is_expert": item.row.is_expert,
            "created_at_s": item.row.created_at_s,
            "original": item.row.original,
        }
        for item in rows
    ]
    table = pd.DataFrame(records, columns=list(_TYPES)).astype(_TYPES)
    return table.to_parquet(None, engine="pyarrow", index=False)


def _parse_row(record: dict[Any, Any]) -> SnapshotRow:
    row = PoolRow(
        row_id=record["row_id"],
        kind=RowKind(record["kind"]),
        cluster=record["cluster"],
        messages=tuple(json.loads(record["messages"])),
        reply=record["reply"],
        rating=Rating(record["rating"]) if record["rating"] else None,
        rater=record["rater"],
        is_expert=record["is_expert"],
        created_at_s=record["created_at_s"],
        original=record.get("original"),  # snapshots from before it was kept have none
    )
    return SnapshotRow(row=row, split=Split(record["split"]))


def _count_rows(rows: Iterable[SnapshotRow]) -> dict[str, dict[str, int]]:
    counts: defaultdict[str, defaultdict[str, int]] = defaultdict(lambda: defaultdict(int))
    for item in rows:
        counts[item.split.value][(item.row.rating or item.row.kind).value] += 1
    return {split: dict(by_kind) for split, by_kind in counts.items()}


def _write_durably(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
