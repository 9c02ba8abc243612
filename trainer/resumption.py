"""One stage of training, carried to its end: from where a killed process stopped, within the memory that there is."""

from __future__ import annotations

import ctypes
import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils.memory import should_reduce_batch_size
from torch import nn

from data.recipe import Recipe
from trainer.arguments import build_arguments
from trainer.best_weights import BestWeights
from trainer.checkpoints import (
    BEST_WEIGHTS,
    CHECKPOINTS,
    METRICS,
    WEIGHTS,
    Checkpoint,
    Checkpoints,
    load_weights,
    save_weights,
)
from trainer.errors import TrainingFailed
from trainer.processes import count_processes, get_rank
from trainer.progress import ProgressCallback, emit
from trainer.resumable import Resumable

_START_WEIGHTS = "start.safetensors"
_ONEDNN_REFUSES = "could not create a primitive"  # all that oneDNN says when it gets no memory, as in bfloat16


@dataclass(frozen=True, kw_only=True)
class StagePlan:
    """What a stage is, to whoever carries it out.

    Attributes:
        name: in events, metrics.jsonl and checkpoints; different for each stage of a run.
        build: makes the trainer, ready to train, from arguments for its `SFTConfig`, `KTOConfig` …; it may be called
            more than once.
        epochs, learning_rate: passes over the rows and AdamW peak rate.
        smallest: fewest rows that the loss can be computed on at once.
        tell: what the stage adds to its facts at its end.
    """

    name: str
    model: nn.Module
    build: Callable[[dict[str, Any]], Resumable]
    recipe: Recipe
    folder: Path
    epochs: int
    learning_rate: float
    smallest: int = 1
    tell: Callable[[Resumable], dict[str, Any]] = field(default=lambda _: {})


def train_stage(plan: StagePlan) -> dict[str, Any]:
    """Train the model in place, from where an earlier process was stopped if one was; returns the facts of the stage.

    Facts: `steps`, `of` (planned steps), `tokens` (without padding), `micro_batch` (rows computed at once in a
    process), `gradient_accumulation`, `resumed_at_step` (None: never interrupted), `best_step` and `dev_loss` where one
    was measured, and what the stage tells. When memory runs short, the stage starts over from its last checkpoint with
    half as many rows at once and twice as many parts, so that a step stays the same.

    Raises:
        TrainingFailed: memory runs short even so.
    """
    carrier = _Carrier(plan)
    return carrier.skip() or carrier.carry_out()


def list_stage_facts(folder: Path) -> dict[str, dict[str, Any]]:
    """The facts of each stage of a run that has ended, by name."""
    return Checkpoints(folder / CHECKPOINTS).list_done()


class _Carrier:
    """A stage under way."""

    def __init__(self, plan: StagePlan) -> None:
        self._plan = plan
        self._checkpoints = Checkpoints(plan.folder / CHECKPOINTS)
        self._staged = self._checkpoints.locate_staged(plan.name)
        self._metrics = plan.folder / METRICS
        self._best = self._staged / BEST_WEIGHTS
        self._is_main = get_rank() == 0
        self._processes = PartialState(cpu=not torch.cuda.is_available())

    def skip(self) -> dict[str, Any] | None:
        """The facts and, in the model, the weights of a stage that an earlier process ended; None when none did."""
        done = self._checkpoints.find_done(self._plan.name)
        if done is None:
            return None
        self._restore(done)
        load_weights(self._plan.model, done.folder / WEIGHTS)
        emit("resumed", stage=self._plan.name, step=done.step)
        return done.facts

    def carry_out(self) -> dict[str, Any]:
        """Attempt it with ever fewer rows at once."""
        last = self._checkpoints.find_last(self._plan.name)
        parts: int = last.facts["gradient_accumulation"] if last else self._plan.recipe.gradient_accumulation
        if self._is_main:
            self._checkpoints.clear_staged(self._plan.name)
            save_weights(self._plan.model, self._staged / _START_WEIGHTS)
        self._processes.wait_for_everyone()
        while (facts := self._attempt(parts, last)) is None:
            parts *= 2
            last = self._checkpoints.find_last(self._plan.name)
            _release_memory(self._plan.model)
            load_weights(self._plan.model, self._staged / _START_WEIGHTS)
        return facts

    def _attempt(self, parts: int, last: Checkpoint | None) -> dict[str, Any] | None:
        """Train to the end of the stage; None when memory ran short and fewer rows at once are worth a try."""
        try:
            with _unprepare(self._plan.model):
                trainer = self._build(parts, last)
                trainer.train(resume_from_checkpoint=str(last.folder) if last else None)
        except (RuntimeError, MemoryError) as error:
            if not _is_memory_short(error):
                raise
            rows = self._plan.recipe.batch_size // parts // count_processes()
            if count_processes() > 1 or rows % 2 or rows // 2 < self._plan.smallest:
                raise TrainingFailed(
                    f"Memory ran out with {rows} rows at once; lower max_tokens, train fewer blocks, or turn on "
                    "gradient_checkpointing."
                ) from error
            emit("memory_short", stage=self._plan.name, micro_batch=rows // 2)
            return None
        return self._finish(trainer, _describe(trainer, parts, last) | self._plan.tell(trainer))

    def _build(self, parts: int, last: Checkpoint | None) -> Resumable:
        """The trainer with what every stage has: progress, best weights, sealed checkpoints."""
        plan = self._plan
        if self._is_main:
            self._best.unlink(missing_ok=True)
        if last is not None:
            self._restore(last)
            emit("resumed", stage=plan.name, step=last.step)
        arguments = build_arguments(
            plan.recipe, self._staged, epochs=plan.epochs, learning_rate=plan.learning_rate, parts=parts
        )
        trainer = plan.build(arguments)
        trainer.add_callback(ProgressCallback(plan.name, self._metrics))
        if plan.recipe.early_stopping_patience:
            trainer.add_callback(BestWeights(plan.recipe.early_stopping_patience, self._best))
        trainer.on_saved = lambda folder, step: self._seal(folder, step, _describe(trainer, parts, last))
        return trainer

    def _restore(self, checkpoint: Checkpoint) -> None:
        """The lines of metrics.jsonl, and the best weights so far, as they were then."""
        if self._is_main:
            for target in (self._metrics, self._best):
                if (checkpoint.folder / target.name).exists() and target.parent.exists():
                    shutil.copy(checkpoint.folder / target.name, target)

    def _seal(self, written: Path, step: int, facts: dict[str, Any]) -> None:
        for file in (self._metrics, self._best):
            if file.exists():
                shutil.copy(file, written)
        self._checkpoints.seal(written, self._plan.name, step, facts)
        emit("checkpoint", stage=self._plan.name, step=step)

    def _finish(self, trainer: Resumable, facts: dict[str, Any]) -> dict[str, Any]:
        """Take the best weights, where there is a dev loss, and seal the end of the stage."""
        trainer.accelerator.wait_for_everyone()
        if self._best.exists():
            load_weights(self._plan.model, self._best)
        trainer.accelerator.wait_for_everyone()
        if self._is_main:
            written = self._staged / "end"
            written.mkdir()
            save_weights(self._plan.model, written / WEIGHTS)
            if self._metrics.exists():
                shutil.copy(self._metrics, written)
            self._checkpoints.finish(written, self._plan.name, facts["steps"], facts)
        trainer.accelerator.wait_for_everyone()
        return facts


@contextmanager
def _unprepare(model: nn.Module) -> Iterator[None]:
    """Take off what accelerate puts around the forward pass of a model that trains in bfloat16, and leaves there.

    Else the export would trace the casts into the version's graph, scores would be rounded, and the next stage, whose
    head takes the wrapper's place, would be in float32, since the model counts as prepared. Accelerate's own
    `unwrap_model` takes off the decorators of transformers, too, and leaves the mark.
    """
    forward = model.__dict__.get("forward")
    try:
        yield
    finally:
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            model.__dict__.pop(name, None)
        if forward is not None:
            model.__dict__["forward"] = forward


def _describe(trainer: Resumable, parts: int, resumed: Checkpoint | None) -> dict[str, Any]:
    state = trainer.state
    facts: dict[str, Any] = {
        "steps": state.global_step,
        "of": state.max_steps,
        "tokens": int(state.num_input_tokens_seen),
        "micro_batch": trainer.args.per_device_train_batch_size,
        "gradient_accumulation": parts,
        "resumed_at_step": resumed.step if resumed else None,
    }
    losses = [(record["eval_loss"], record["step"]) for record in state.log_history if "eval_loss" in record]
    if losses:
        facts["dev_loss"], facts["best_step"] = min(losses)
    return facts


def _release_memory(model: nn.Module) -> None:
    model.zero_grad()
    gc.collect()
    give_back = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps what was freed: 300 of 400 MB, measured
    if give_back is not None:
        give_back(0)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _is_memory_short(error: Exception) -> bool:
    is_known = isinstance(error, MemoryError | torch.OutOfMemoryError) or should_reduce_batch_size(error)
    return is_known or _ONEDNN_REFUSES in str(error)
