"""The index of the trunk cache: owners, recency, the bound, and what a killed or foreign process leaves behind."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Iterator
from hashlib import sha256
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

from data.trunk_index import Held, TrunkIndex, find_trunk_index

LIMIT_BYTES = 1000


def key_of(name: str) -> bytes:
    return sha256(name.encode()).digest()


def keep(index: TrunkIndex, *names: str, owners: tuple[str, ...] = ("feedback:1",), size: int = 100) -> set[bytes]:
    """Announce and admit one entry of `size` bytes for each name."""
    index.announce({key_of(name): owners for name in names})
    return set(index.admit({key_of(name): name[:1].encode() * size for name in names}, LIMIT_BYTES))


def list_files(folder: Path) -> set[str]:
    return {path.stem for path in (folder / "rows").glob("*/*")}


@pytest.fixture
def index(tmp_path: Path) -> Iterator[TrunkIndex]:
    index = TrunkIndex(tmp_path)
    yield index
    index.close()


def reopen(index: TrunkIndex, folder: Path) -> TrunkIndex:
    index.close()
    return TrunkIndex(folder)


class TestAnnounce:
    def test_returns_what_has_a_file(self, index: TrunkIndex, tmp_path: Path) -> None:
        keep(index, "a")
        index.announce({key_of("b"): ["feedback:2"]})
        later = reopen(index, tmp_path)
        held = later.announce({key_of(name): ["feedback:1"] for name in "abc"})
        assert set(held) == {key_of("a")}
        assert held[key_of("a")].matches(later.locate(key_of("a")).read_bytes())
        later.close()

    def test_adds_owners_up(self, index: TrunkIndex) -> None:
        keep(index, "a", owners=("feedback:1",))
        keep(index, "a", owners=("feedback:2", "correction:2"))
        assert index.list_owners() == {"feedback:1", "feedback:2", "correction:2"}


class TestAdmit:
    def test_refuses_what_was_not_announced(self, index: TrunkIndex, tmp_path: Path) -> None:
        assert index.admit({key_of("a"): b"a"}, LIMIT_BYTES) == {}
        assert list_files(tmp_path) == set()

    def test_replaces_an_entry_and_counts_it_once(self, index: TrunkIndex) -> None:
        keep(index, "a", size=100)
        keep(index, "a", size=300)
        assert index.measure() == (1, 300)

    def test_evicts_the_entries_that_the_oldest_runs_used(self, index: TrunkIndex, tmp_path: Path) -> None:
        keep(index, "old", "used again", size=300)
        second = reopen(index, tmp_path)
        keep(second, "newer", size=300)
        second.announce({key_of("used again"): ["feedback:1"]})
        third = reopen(second, tmp_path)
        assert keep(third, "newest", size=300) == {key_of("newest")}
        kept = {key_of(name).hex() for name in ("used again", "newer", "newest")}
        assert list_files(tmp_path) == kept
        assert third.measure() == (3, 900)
        third.close()

    def test_keeps_what_the_run_itself_announced_and_refuses_the_rest(self, index: TrunkIndex) -> None:
        assert len(keep(index, *"abc", size=300)) == 3
        assert keep(index, "d", size=300) == set()
        assert keep(index, "e", size=100) == {key_of("e")}  # a smaller one still fits
        assert index.measure() == (4, 1000)

    def test_frees_nothing_in_vain(self, index: TrunkIndex, tmp_path: Path) -> None:
        keep(index, "a", size=300)
        later = reopen(index, tmp_path)
        assert keep(later, "larger than all", size=LIMIT_BYTES + 1) == set()
        assert later.measure() == (1, 300)
        later.close()

    def test_counts_nothing_when_the_disk_refuses(self, index: TrunkIndex, tmp_path: Path) -> None:
        (tmp_path / "rows").write_text("no folder")
        with pytest.raises(OSError, match="rows"):
            keep(index, "a")
        (tmp_path / "rows").unlink()
        assert index.measure() == (0, 0)
        assert keep(index, "a") == {key_of("a")}


def find_total(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "rows").glob("*/*"))


class TestDiscard:
    def test_removes_the_file_and_lets_it_be_admitted_again(self, index: TrunkIndex, tmp_path: Path) -> None:
        keep(index, "a")
        index.discard(key_of("a"))
        assert list_files(tmp_path) == set()
        assert index.measure() == (0, 0)
        assert keep(index, "a") == {key_of("a")}


class TestForget:
    def test_removes_what_any_of_the_rows_owns(self, index: TrunkIndex, tmp_path: Path) -> None:
        keep(index, "mine", owners=("feedback:1",))
        keep(index, "ours", owners=("feedback:1", "feedback:2"))
        keep(index, "theirs", owners=("feedback:2",))
        assert index.forget({"feedback:1"})
        assert list_files(tmp_path) == {key_of("theirs").hex()}
        assert index.list_owners() == {"feedback:2"}
        assert not index.forget({"feedback:1"})

    def test_leaves_no_trace_in_the_index_file(self, index: TrunkIndex, tmp_path: Path) -> None:
        keep(index, "mine", owners=("feedback:4711",))
        index.forget({"feedback:4711"})
        files = [path for path in tmp_path.iterdir() if path.is_file()]
        assert files
        assert not any(b"feedback:4711" in path.read_bytes() or key_of("mine") in path.read_bytes() for path in files)

    def test_lets_a_run_that_goes_on_keep_nothing_of_it(self, index: TrunkIndex, tmp_path: Path) -> None:
        index.announce({key_of("mine"): ["feedback:1"]})
        eraser = TrunkIndex(tmp_path)
        assert eraser.forget({"feedback:1"})
        eraser.close()
        assert index.admit({key_of("mine"): b"late"}, LIMIT_BYTES) == {}
        assert list_files(tmp_path) == set()


class TestOpen:
    def test_removes_files_that_are_no_entries(self, index: TrunkIndex, tmp_path: Path) -> None:
        keep(index, "a")
        stray = index.locate(key_of("stray"))
        stray.parent.mkdir(parents=True, exist_ok=True)
        stray.write_bytes(b"half a r")
        reopen(index, tmp_path).close()
        assert list_files(tmp_path) == {key_of("a").hex()}

    def test_replaces_what_is_no_index(self, index: TrunkIndex, tmp_path: Path) -> None:
        keep(index, "a")
        index.close()
        (tmp_path / "index.sqlite").write_bytes(b"not a database at all" * 100)
        for name in ("index.sqlite-wal", "index.sqlite-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        fresh = TrunkIndex(tmp_path)
        assert fresh.measure() == (0, 0)
        assert list_files(tmp_path) == set()
        fresh.close()

    def test_replaces_an_index_of_another_format(self, index: TrunkIndex, tmp_path: Path) -> None:
        keep(index, "a")
        index.close()
        connection = sqlite3.connect(tmp_path / "index.sqlite")
        connection.execute("PRAGMA user_version = 99")
        connection.close()
        fresh = TrunkIndex(tmp_path)
        assert fresh.measure() == (0, 0)
        fresh.close()

    def test_leaves_alone_what_it_may_not_write(self, tmp_path: Path) -> None:
        (tmp_path / "index.sqlite").mkdir()  # SQLite cannot open a folder
        with pytest.raises(sqlite3.OperationalError):
            TrunkIndex(tmp_path)
        assert (tmp_path / "index.sqlite").is_dir()

    def test_forgets_what_was_announced_two_runs_ago_and_never_kept(self, index: TrunkIndex, tmp_path: Path) -> None:
        index.announce({key_of("a"): ["feedback:1"]})
        second = reopen(index, tmp_path)
        second.announce({key_of("b"): ["feedback:2"]})
        third = reopen(second, tmp_path)
        assert third.list_owners() == {"feedback:2"}
        third.close()

    def test_is_nothing_to_find_where_no_run_kept_anything(self, tmp_path: Path) -> None:
        assert find_trunk_index(tmp_path / "trunk-cache") is None
        TrunkIndex(tmp_path).close()
        found = find_trunk_index(tmp_path)
        assert found is not None
        found.close()


class TestHeld:
    def test_matches_its_own_content_only(self, index: TrunkIndex) -> None:
        index.announce({key_of("a"): ["feedback:1"]})
        held = index.admit({key_of("a"): b"content"}, LIMIT_BYTES)[key_of("a")]
        assert held.matches(b"content")
        assert not held.matches(b"kontent")
        assert not Held(3, held.checksum).matches(b"content")


def keep_for_ever(folder: Path, has_begun: Event) -> None:
    """Keep one entry after another, until killed."""
    index = TrunkIndex(folder)
    number = 0
    while True:
        keep(index, f"{number} of {os.getpid()}", owners=(f"feedback:{number}",), size=37)
        has_begun.set()
        number += 1


class TestKilledAndShared:
    def test_two_processes_that_are_killed_leave_a_whole_index_within_its_bound(self, tmp_path: Path) -> None:
        context = multiprocessing.get_context("spawn")
        events = [context.Event(), context.Event()]
        processes = [context.Process(target=keep_for_ever, args=(tmp_path, event)) for event in events]
        for process in processes:
            process.start()
        for event in events:
            assert event.wait(60)
        for process in processes:
            assert process.pid is not None
            os.kill(process.pid, signal.SIGKILL)
            process.join(60)
        index = TrunkIndex(tmp_path)
        count, n_bytes = index.measure()
        # One killed while it evicts may leave an entry whose file is gone; it is found missing when it is asked for.
        assert count >= len(list_files(tmp_path)) > 0
        assert find_total(tmp_path) <= n_bytes <= LIMIT_BYTES
        assert index.forget(index.list_owners())
        assert list_files(tmp_path) == set()
        index.close()
