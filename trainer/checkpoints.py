"""Checkpoints of a run: sealed folders that are whole or ignored, and what a killed run goes on from.

checkpoints/
├── identity.json            run, rows, recipe and base that all of them belong to
├── supervised-done/         weights of a stage that has ended
├── preference-0000500/      the last step of the stage under way, with optimiser, schedule and random states
└── preference.staged/       what is being written; it means nothing to a later process

HF's own saves are not atomic. So one is written to the staged folder, gets a manifest with the sha256 of each file, is
flushed to disk and renamed; then the one before it goes. A checkpoint counts only when every file is there unchanged.
Weights are safetensors and hold what is trained, nothing else; of the rest HF reads tensors and plain values only
(`torch.load` with `weights_only`).
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from serving.artifact import MANIFEST, hash_file, load_artifact, move_artifact, seal_artifact
from serving.errors import ArtifactInvalid

CHECKPOINTS = "checkpoints"  # in the folder of an attempt
IDENTITY = "identity.json"
WEIGHTS = "model.safetensors"  # the name that HF looks for
BEST_WEIGHTS = "best.safetensors"  # those of the lowest dev loss so far
METRICS = "metrics.jsonl"
_STAGED = ".staged"
_DONE = "done"
_FILES = frozenset(
    {MANIFEST, WEIGHTS, BEST_WEIGHTS, METRICS, "optimizer.pt", "scheduler.pt", "scaler.pt", "trainer_state.json"}
)


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint: `facts` are what the stage knew of itself."""

    folder: Path
    step: int
    facts: dict[str, Any]


def open_checkpoints(folder: Path, identity: dict[str, Any]) -> None:
    """Keep the checkpoints in a folder if they belong to the same run, rows, recipe and base; else forget them.

    Without this call nothing is resumed.
    """
    file = folder / IDENTITY
    wanted = json.dumps(identity, indent=2, sort_keys=True) + "\n"
    if file.exists() and file.read_text() == wanted:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    staged = file.with_suffix(_STAGED)
    staged.write_text(wanted)
    staged.rename(file)


class Checkpoints:
    """The checkpoints in one folder, by stage."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def find_done(self, stage: str) -> Checkpoint | None:
        """The end of a stage, if it was reached."""
        return self._read(self._folder / f"{stage}-{_DONE}")

    def find_last(self, stage: str) -> Checkpoint | None:
        """The newest whole checkpoint within a stage."""
        found = (self._read(folder) for folder in sorted(self._list_steps(stage), reverse=True))
        return next((checkpoint for checkpoint in found if checkpoint), None)

    def list_done(self) -> dict[str, dict[str, Any]]:
        """The facts of all stages that have ended, by name."""
        stages = sorted(folder.name.removesuffix(f"-{_DONE}") for folder in self._folder.glob(f"*-{_DONE}"))
        return {stage: checkpoint.facts for stage in stages if (checkpoint := self.find_done(stage))}

    def locate_staged(self, stage: str) -> Path:
        """Where the stage writes."""
        return self._folder / f"{stage}{_STAGED}"

    def clear_staged(self, stage: str) -> None:
        """Make that an empty folder: what a killed process left there is worth nothing."""
        shutil.rmtree(self.locate_staged(stage), ignore_errors=True)
        self.locate_staged(stage).mkdir(parents=True)

    def seal(self, written: Path, stage: str, step: int, facts: dict[str, Any]) -> None:
        """Make a finished folder the one checkpoint within the stage."""
        former = self._list_steps(stage)
        self._seal(written, f"{stage}-{step:07d}", step, facts)
        for folder in former:
            if folder.name != f"{stage}-{step:07d}":
                shutil.rmtree(folder, ignore_errors=True)

    def finish(self, written: Path, stage: str, step: int, facts: dict[str, Any]) -> None:
        """Make a folder with the stage's last weights its end, and forget the steps on the way."""
        self._seal(written, f"{stage}-{_DONE}", step, facts)
        for folder in [*self._list_steps(stage), self.locate_staged(stage)]:
            shutil.rmtree(folder, ignore_errors=True)

    def _seal(self, written: Path, name: str, step: int, facts: dict[str, Any]) -> None:
        seal_artifact(written, step=step, facts=facts)
        shutil.rmtree(self._folder / name, ignore_errors=True)  # one that was not whole
        move_artifact(written, self._folder / name)

    def _list_steps(self, stage: str) -> list[Path]:
        found = self._folder.glob(f"{stage}-*")
        return [folder for folder in found if folder.name.removeprefix(f"{stage}-").isdecimal()]

    def _read(self, folder: Path) -> Checkpoint | None:
        """The checkpoint in a folder, or None when it is torn or was changed."""
        try:
            (self._folder / IDENTITY).stat()
            manifest = load_artifact(folder, verify=False).manifest
            files = {name: hash_file(folder / name) for name in _list_names(folder)}
        except (ArtifactInvalid, OSError):
            return None
        if files != manifest["files"] or any(name not in _FILES and not name.startswith("rng_state") for name in files):
            return None
        return Checkpoint(folder=folder, step=manifest["step"], facts=manifest["facts"])


def _list_names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name != MANIFEST]


def save_weights(model: nn.Module, file: Path) -> None:
    """Write the parameters that are trained, beside `file` first: it is whole or absent."""
    staged = file.with_name(file.name + ".tmp")
    trained = {name: value for name, value in model.named_parameters() if value.requires_grad}
    save_file({name: value.detach().cpu().contiguous() for name, value in trained.items()}, staged)
    staged.rename(file)


def load_weights(model: nn.Module, file: Path) -> None:
    """Put saved parameters back in place.

    Raises:
        SafetensorError: they are not those of this model.
    """
    parameters = dict(model.named_parameters())
    for name, value in load_file(file).items():
        if name not in parameters or parameters[name].shape != value.shape:
            raise SafetensorError(f"{file.name} holds {name}, which the model does not have in this shape.")
        parameters[name].data.copy_(value)
