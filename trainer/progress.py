"""Progress as JSON lines on stdout, and the same numbers in metrics.jsonl."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trainer.board import FOLDER, Board
from trainer.processes import get_rank

_events = sys.stdout  # kept, because `__main__` sends what libraries print elsewhere


def emit(event: str, **fields: Any) -> None:
    """Print one event for whoever watches; of several processes only the main one speaks."""
    if get_rank() == 0:
        _events.write(json.dumps({"event": event, **fields}) + "\n")
        _events.flush()


class Progress:
    """Steps of one stage, with its speed and the time that is left by the pace so far."""

    def __init__(self, stage: str, of: int, step: int = 0, tokens: int = 0) -> None:
        self.stage, self.of, self.step = stage, of, step
        self._started_s = time.monotonic()
        self._first_step, self._first_tokens = step, tokens  # a stage that goes on has done these before
        self.pace: dict[str, float | None] = {"tokens_per_s": None, "eta_s": None}

    def advance(self, steps: int = 1, loss: float | None = None, tokens: int | None = None) -> None:
        """Tell that `steps` more are done; `tokens` is how many the stage has seen, padding not counted."""
        self.step += steps
        elapsed_s = time.monotonic() - self._started_s
        done = self.step - self._first_step
        self.pace = {
            "tokens_per_s": round((tokens - self._first_tokens) / elapsed_s, 1) if tokens and elapsed_s else None,
            "eta_s": round(elapsed_s / done * (self.of - self.step), 1) if done else None,
        }
        emit("progress", stage=self.stage, step=self.step, of=self.of, loss=loss, **self.pace)


class ProgressCallback(TrainerCallback):
    """Turns the trainer's steps and logs into progress events and lines of metrics.jsonl, in the main process."""

    def __init__(self, phase: str, metrics_file: Path) -> None:
        self.phase, self.metrics_file = phase, metrics_file
        self._board = Board(metrics_file.parent / FOLDER / phase)
        self._progress: Progress | None = None
        self._loss: float | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """The number of steps is known now, and how many an earlier process has done."""
        tokens = int(state.num_input_tokens_seen)
        self._progress = Progress(self.phase, state.max_steps, state.global_step, tokens)

    def on_step_end(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        **_: Any,
    ) -> None:
        """One optimiser step."""
        if self._progress:
            steps = state.global_step - self._progress.step
            self._progress.advance(steps, self._loss, int(state.num_input_tokens_seen))

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, Any] | None = None,
        **_: Any,
    ) -> None:
        """Keep the loss for the next event and the whole record on disk."""
        if not args.should_save:
            return
        logs = logs or {}
        self._loss = logs.get("loss", self._loss)
        pace = self._progress.pace if self._progress and "loss" in logs else {}
        record = {"phase": self.phase, "step": state.global_step, **logs, **pace}
        with self.metrics_file.open("a") as file:
            file.write(json.dumps(record) + "\n")
        self._board.add(state.global_step, {**logs, **pace})
