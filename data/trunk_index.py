"""The files of the trunk cache and their index: whose they are, how large, and which run used them last.

    trunk-cache/
    ├── index.sqlite          entries (key, bytes, checksum, used) and owners (key, row id)
    └── rows/ab/ab12….f32     one file for each entry, nothing but its content

Every entry is written into the index, with its owners, before its file is made, and files come and go only under the
index's write lock. So whenever a process is killed, each file is either found through its owners or is a stray that
the next opening removes; a file whose length or checksum is not the index's is never used.

The least recently used entries leave first, counted in runs: what the present run has announced stays, for in a cycle
over more rows than fit, leaving by the moment of use would throw out each row just before its next turn. A size that
no leaving entry can free is refused instead.
"""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

_INDEX_FILE = "index.sqlite"
_FORMAT = 1
_LOCK_WAIT_S = 60
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS entries (
    key BLOB PRIMARY KEY,
    bytes INTEGER NOT NULL DEFAULT 0, -- 0: announced, no file yet
    checksum INTEGER NOT NULL DEFAULT 0,
    used INTEGER NOT NULL -- number of the run that announced it last
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS owners (
    key BLOB NOT NULL REFERENCES entries (key) ON DELETE CASCADE,
    row_id TEXT NOT NULL,
    PRIMARY KEY (key, row_id)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS owners_by_row ON owners (row_id);
PRAGMA user_version = {_FORMAT};
"""


@dataclass(frozen=True)
class Held:
    """What the index says of a file: its length in bytes and the CRC-32 of its content."""

    n_bytes: int
    checksum: int

    def matches(self, content: bytes | memoryview) -> bool:
        """Whether this is the content that was admitted."""
        return len(content) == self.n_bytes and zlib.crc32(content) == self.checksum


class TrunkIndex:
    """The index of one folder, opened for one run or one erasure; several processes may share the folder.

    Raises:
        sqlite3.Error: the index cannot be opened or written; one that is no such index is replaced by an empty one.
        OSError: the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            self._connection = _open(folder)
        except sqlite3.OperationalError:  # locked, or the disk refuses: no reason to throw anything away
            raise
        except sqlite3.DatabaseError:
            shutil.rmtree(folder, ignore_errors=True)
            self._connection = _open(folder)
        with self._writing():
            self._run: int = self._ask("SELECT COALESCE(MAX(used), 0) + 1 FROM entries")
            self._connection.execute("DELETE FROM entries WHERE bytes = 0 AND used < ?", (self._run - 1,))
            self._remove_strays()

    def announce(self, owners: Mapping[bytes, Iterable[str]]) -> dict[bytes, Held]:
        """Note that this run uses these entries and whose they are; returns those of them that have a file.

        Owners are row ids of snapshots (`feedback:7`). They add up: one that an earlier run named stays an owner.
        """
        with self._writing():
            self._connection.executemany(
                "INSERT INTO entries (key, used) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET used = excluded.used",
                ((key, self._run) for key in owners),
            )
            self._connection.executemany(
                "INSERT INTO owners (key, row_id) VALUES (?, ?) ON CONFLICT DO NOTHING",
                ((key, row_id) for key, row_ids in owners.items() for row_id in row_ids),
            )
            query = "SELECT bytes, checksum FROM entries WHERE key = ?"
            found = {key: Held(*self._connection.execute(query, (key,)).fetchone()) for key in owners}
        return {key: held for key, held in found.items() if held.n_bytes}

    def admit(self, contents: Mapping[bytes, bytes], limit_bytes: int) -> dict[bytes, Held]:
        """Write the files of announced entries, as far as they fit into `limit_bytes` beside all others.

        Returns:
            Those that were written. One that was forgotten since it was announced is not written again.
        """
        admitted = {}
        with self._writing():
            total: int = self._ask("SELECT COALESCE(SUM(bytes), 0) FROM entries")
            for key, content in contents.items():
                old = self._connection.execute("SELECT bytes FROM entries WHERE key = ?", (key,)).fetchone()
                if old is None:
                    continue
                total += len(content) - old[0]
                total -= self._evict(total - limit_bytes)
                if total > limit_bytes:
                    total -= len(content) - old[0]
                    continue
                admitted[key] = held = Held(len(content), zlib.crc32(content))
                self._connection.execute(
                    "UPDATE entries SET bytes = ?, checksum = ? WHERE key = ?", (held.n_bytes, held.checksum, key)
                )
                path = self.locate(key)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.unlink(missing_ok=True)  # whoever has the old one mapped keeps it whole
                path.write_bytes(content)
        return admitted

    def discard(self, key: bytes) -> None:
        """Remove a file that is torn or foreign; its entry stays announced."""
        with self._writing():
            self.locate(key).unlink(missing_ok=True)
            self._connection.execute("UPDATE entries SET bytes = 0 WHERE key = ?", (key,))

    def list_owners(self) -> set[str]:
        """The row ids of all entries."""
        return {row_id for (row_id,) in self._connection.execute("SELECT DISTINCT row_id FROM owners")}

    def forget(self, row_ids: Iterable[str]) -> bool:
        """Remove each entry that one of these rows owns, alone or with others.

        Returns:
            Whether there was anything to remove.
        """
        keys: set[bytes] = set()
        with self._writing():
            for row_id in row_ids:
                owned = self._connection.execute("SELECT key FROM owners WHERE row_id = ?", (row_id,))
                keys.update(key for (key,) in owned)
            self._remove(keys)
            n_strays = self._remove_strays()
        self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # what was deleted is left nowhere
        return bool(keys or n_strays)

    def measure(self) -> tuple[int, int]:
        """How many entries have a file, and the bytes of all files."""
        row = self._connection.execute("SELECT COUNT(*), COALESCE(SUM(bytes), 0) FROM entries WHERE bytes > 0")
        count, n_bytes = row.fetchone()
        return count, n_bytes

    def locate(self, key: bytes) -> Path:
        """Where the file of an entry is, or would be."""
        name = key.hex()
        return self._folder / "rows" / name[:2] / f"{name}.f32"

    def close(self) -> None:
        """Let go of the index file."""
        self._connection.close()

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction that holds the write lock from its start."""
        with self._connection:  # commits, or rolls back on any error
            self._connection.execute("BEGIN IMMEDIATE")
            yield

    def _ask(self, query: str) -> int:
        (value,) = self._connection.execute(query).fetchone()
        return int(value)

    def _evict(self, needed_bytes: int) -> int:
        """Remove entries of earlier runs, the oldest first, until that many bytes are free; none where that cannot be.

        Returns:
            The freed bytes.
        """
        if needed_bytes <= 0:
            return 0
        freed, doomed = 0, []
        candidates = self._connection.execute(
            "SELECT key, bytes FROM entries WHERE bytes > 0 AND used < ? ORDER BY used", (self._run,)
        )
        for key, n_bytes in candidates:
            if freed >= needed_bytes:
                break
            doomed.append(key)
            freed += n_bytes
        if freed < needed_bytes:
            return 0
        self._remove(doomed)
        return freed

    def _remove(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self.locate(key).unlink(missing_ok=True)
            self._connection.execute("DELETE FROM entries WHERE key = ?", (key,))

    def _remove_strays(self) -> int:
        """Remove files that are no entry's; with the write lock held, none is under way."""
        held = {key.hex() for (key,) in self._connection.execute("SELECT key FROM entries WHERE bytes > 0")}
        strays = [path for path in (self._folder / "rows").glob("*/*") if path.stem not in held]
        for path in strays:
            path.unlink()
        return len(strays)


def find_trunk_index(folder: Path) -> TrunkIndex | None:
    """The index in `folder`; None where no run has kept anything."""
    return TrunkIndex(folder) if folder.is_dir() else None


def _open(folder: Path) -> sqlite3.Connection:
    folder.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(folder / _INDEX_FILE, timeout=_LOCK_WAIT_S, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
        connection.execute("PRAGMA synchronous = NORMAL")  # a lost commit leaves strays, which are never used
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON").fetchall()
        found = connection.execute("PRAGMA user_version").fetchone()[0]
        if found not in (0, _FORMAT) or connection.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("This is no trunk index of this format.")
        connection.executescript(_SCHEMA)
    except sqlite3.Error:
        connection.close()
        raise
    return connection
