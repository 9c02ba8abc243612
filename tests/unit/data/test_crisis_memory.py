"""What the crisis classifier remembers, in memory and in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from data.crisis_memory import MOST_REMEMBERED, CrisisMemory

SCORES = [(1.25, "suicide"), (-0.1, "abuse")]
WINDOWS = ["a first window", "half a character \ud83d of another"]
TOLD = dict(zip(WINDOWS, SCORES, strict=True))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Left by a process that was told SCORES of WINDOWS."""
    memory = CrisisMemory()
    memory.remember(TOLD, "small")
    memory.write(tmp_path / "var" / "memory.npz", "detector 1")
    return tmp_path / "var" / "memory.npz"


def read(file: Path, detector: str = "detector 1") -> CrisisMemory:
    memory = CrisisMemory()
    memory.read(file, detector)
    return memory


class TestInMemory:
    def test_finds_what_it_was_told(self) -> None:
        memory = CrisisMemory()
        assert memory.find(WINDOWS, "small") == [None, None]
        memory.remember({WINDOWS[0]: SCORES[0]}, "small")
        assert memory.find(WINDOWS[::-1], "small") == [None, SCORES[0]]

    def test_keeps_apart_what_two_encoders_say(self) -> None:
        memory = CrisisMemory()
        memory.remember(TOLD, "small")
        assert memory.find(WINDOWS, "large") == [None, None]

    def test_begins_anew_when_it_remembers_much(self) -> None:
        memory = CrisisMemory()
        many = [f"window {number}" for number in range(MOST_REMEMBERED)]
        memory.remember(dict.fromkeys(many, (0.0, "")), "small")
        memory.remember(TOLD, "small")
        assert memory.find([many[0], *WINDOWS], "small") == [None, *SCORES]


class TestFile:
    def test_says_the_same_to_the_next_process(self, file: Path) -> None:
        assert read(file).find(WINDOWS, "small") == SCORES

    def test_holds_no_message(self, file: Path) -> None:
        assert b"window" not in file.read_bytes()

    def test_is_renewed_with_what_is_asked_now(self, file: Path) -> None:
        memory = read(file)
        memory.find(WINDOWS[:1], "small")
        memory.remember({"new": (2.0, "overdose")}, "small")
        memory.write(file, "detector 1")
        assert read(file).find([*WINDOWS, "new"], "small") == [SCORES[0], None, (2.0, "overdose")]
        assert list(file.parent.iterdir()) == [file]

    def test_is_left_alone_when_nothing_is_new(self, file: Path) -> None:
        written = file.stat().st_mtime_ns
        memory = read(file)
        memory.find(WINDOWS, "small")
        memory.write(file, "detector 1")
        assert file.stat().st_mtime_ns == written

    def test_of_another_detector_counts_for_nothing(self, file: Path) -> None:
        assert read(file, "detector 2").find(WINDOWS, "small") == [None, None]

    @pytest.mark.parametrize("kept", [0, 1, 40, 400])
    def test_a_torn_one_counts_for_nothing(self, file: Path, kept: int) -> None:
        file.write_bytes(file.read_bytes()[:kept])
        assert read(file).find(WINDOWS, "small") == [None, None]

    def test_one_of_another_shape_counts_for_nothing(self, file: Path) -> None:
        np.savez(file, detector="detector 1", digests=np.zeros(20, np.uint8), scores=[1.0], categories=["abuse"])
        assert read(file).find(WINDOWS, "small") == [None, None]

    def test_a_missing_one_counts_for_nothing(self, tmp_path: Path) -> None:
        assert read(tmp_path / "memory.npz").find(WINDOWS, "small") == [None, None]

    def test_keeps_more_than_a_process_without_a_file(self, file: Path) -> None:
        memory = read(file)
        memory.find(WINDOWS, "small")
        many = [f"window {number}" for number in range(MOST_REMEMBERED)]
        memory.remember(dict.fromkeys(many, (0.0, "")), "small")
        assert memory.find(WINDOWS, "small") == SCORES

    def test_what_cannot_be_written_leaves_nothing_behind(self, file: Path) -> None:
        memory = read(file)
        memory.remember({"new": (2.0, "overdose")}, "small")
        (file.parent / "folder.npz").mkdir()
        with pytest.raises(OSError, match="folder"):
            memory.write(file.parent / "folder.npz", "detector 1")
        assert sorted(path.name for path in file.parent.iterdir()) == ["folder.npz", file.name]
