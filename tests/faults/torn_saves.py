"""Saves a checkpoint and an artifact again and again, each time cut off at another byte; a program, for it forks.

python -m tests.faults.torn_saves BASE ROOT CUTS SEED

ROOT gets a folder for each cut. A cut is a limit on the size of a file: the process dies by a signal at that byte, or,
in every other case, is told that the write failed, as on a full disk.
"""

from __future__ import annotations

import os
import random
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import TracebackType

import torch
from transformers import PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from tests.lessons import load_model
from trainer.checkpoints import WEIGHTS, Checkpoints, open_checkpoints, save_weights
from trainer.export import export_artifact
from trainer.shortage import describe_shortage

STAGE = "supervised"
TOLD, SILENT = 3, 4  # exit codes: the error was told as a full disk, or as something else


def main() -> None:
    """One child for each cut, one after another."""
    base, root, cuts, seed = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    disable_progress_bar()  # its thread may hold a lock at the moment of a fork, and the child would wait for ever
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    model, tokenizer = load_model(base)
    draw = random.Random(seed)
    largest_bytes = (base / "model.safetensors").stat().st_size
    for number in range(cuts):
        folder = root / f"cut-{number}"
        folder.mkdir(parents=True)
        _save_checkpoint(model, folder, step=1)
        limit_bytes = int(largest_bytes ** draw.uniform(0.1, 1.1))  # small files are cut as well
        artifact = folder / "artifact"
        saves = (
            partial(export_artifact, model, tokenizer, artifact, base_model="tiny", run_id=None, recipe=None),
            partial(_save_checkpoint, model, folder, step=2),
        )
        codes = [_save_within(save, limit_bytes, is_killed=bool(number % 2)) for save in saves]
        (folder / "end").write_text(str(max(codes) or min(codes)))


def _save_within(save: Callable[[], object], limit_bytes: int, *, is_killed: bool) -> int:
    """How a child ended that saved within the limit: 0, TOLD, SILENT, or minus the signal that killed it."""
    pid = os.fork()
    if pid == 0:
        sys.excepthook = _end_telling
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL if is_killed else signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))
        save()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _end_telling(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """The end of a child whose save failed, whatever it failed of: the code says whether the error names the disk."""
    if describe_shortage(error):
        os._exit(TOLD)
    traceback.print_exception(kind, error, trace)
    os._exit(SILENT)


def _save_checkpoint(model: PreTrainedModel, folder: Path, step: int) -> None:
    open_checkpoints(folder / "checkpoints", {})
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoints.clear_staged(STAGE)
    save_weights(model, checkpoints.locate_staged(STAGE) / WEIGHTS)
    checkpoints.seal(checkpoints.locate_staged(STAGE), STAGE, step, {})


if __name__ == "__main__":
    main()
