"""Progress as JSON lines on stdout, and the same numbers in metrics.jsonl."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

_events = sys.stdout  # kept, because `__main__` sends what libraries print elsewhere


def emit(event: str, **fields: Any) -> None:
    """Print one event for whoever watches this process."""
    _events.write(json.dumps({"event": event, **fields}) + "\n")
    _events.flush()


class Progress:
    """Steps of one stage, with the time that is left by the pace so far."""

    def __init__(self, stage: str, of: int) -> None:
        self.stage, self.of, self.step = stage, of, 0
        self._started_s = time.monotonic()

    def advance(self, steps: int = 1, loss: float | None = None) -> None:
        """Tell that `steps` more are done."""
        self.step += steps
        elapsed_s = time.monotonic() - self._started_s
        eta_s = round(elapsed_s / self.step * (self.of - self.step), 1) if self.step else None
        emit("progress", stage=self.stage, step=self.step, of=self.of, loss=loss, eta_s=eta_s)


class ProgressCallback(TrainerCallback):
    """Turns the trainer's steps and logs into progress events and lines of metrics.jsonl."""

    def __init__(self, phase: str, metrics_file: Path) -> None:
        self.phase, self.metrics_file = phase, metrics_file
        self._progress: Progress | None = None
        self._loss: float | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """The number of steps is known now."""
        self._progress = Progress(self.phase, state.max_steps)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """One optimiser step."""
        if self._progress:
            self._progress.advance(state.global_step - self._progress.step, self._loss)

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Keep the loss for the next event and the whole record on disk."""
        logs = logs or {}
        self._loss = logs.get("loss", self._loss)
        record = {"phase": self.phase, "step": state.global_step, **logs}
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(record) + "\n")
