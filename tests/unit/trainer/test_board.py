"""Event files that TensorBoard itself reads back."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from trainer.board import Board


def read(folder: Path) -> list[tuple[int, dict[str, float]]]:
    (file,) = folder.glob("*tfevents*")
    events = list(EventFileLoader(str(file)).Load())
    assert events[0].file_version == "brain.Event:2"
    return [
        (event.step, {value.tag: value.tensor.float_val[0] for value in event.summary.value}) for event in events[1:]
    ]


class TestBoard:
    def test_keeps_numbers_by_step_and_where_they_were_measured(self, tmp_path: Path) -> None:
        board = Board(tmp_path / "supervised")
        board.add(1, {"loss": 2.5, "learning_rate": 1e-4, "note": "text"})
        board.add(2, {"eval_loss": 2.25})
        (first, dev) = read(tmp_path / "supervised")
        assert first == (1, pytest.approx({"training/loss": 2.5, "training/learning_rate": 1e-4}))
        assert dev == (2, {"dev/loss": 2.25})

    def test_goes_on_in_the_same_file(self, tmp_path: Path) -> None:
        Board(tmp_path).add(1, {"loss": 2.5})
        Board(tmp_path).add(2, {"loss": 2.25})
        assert [step for step, _ in read(tmp_path)] == [1, 2]
