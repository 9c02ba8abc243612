"""The numbers of a training stage as an event file for TensorBoard (`ratchet tensorboard`), beside metrics.jsonl."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

FOLDER = "tensorboard"  # in the folder of an attempt, with one folder for each phase
_DEV = "eval_"  # what the trainer puts before the measures of the dev rows


class Board:
    """Appends to one event file; each record is whole on disk before `add` returns, so a kill costs none."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "events.out.tfevents.ratchet"

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Write the numbers among `values`, measures of dev rows under `dev/`, all others under `training/`."""
        scalars = [
            Summary.Value(tag=_name(name), simple_value=float(value))
            for name, value in values.items()
            if isinstance(value, int | float)
        ]
        if not self._file.exists():
            self._file.parent.mkdir(parents=True, exist_ok=True)
            self._append(Event(wall_time=time.time(), file_version="brain.Event:2"))
        self._append(Event(wall_time=time.time(), step=step, summary=Summary(value=scalars)))

    def _append(self, event: Event) -> None:
        with self._file.open("ab") as file:
            RecordWriter(file).write(event.SerializeToString())


def _name(measure: str) -> str:
    return f"dev/{measure.removeprefix(_DEV)}" if measure.startswith(_DEV) else f"training/{measure}"
