"""The trainer as a subprocess: started in its own process group, read line by line, killed with all its children."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from data.recipe import Recipe
from worker.errors import TrainerFailed, TrainerKilled
from worker.watchdog import Watchdog

LOG_FILE = "trainer.log"
_KEPT_ENVIRONMENT = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "LD_LIBRARY_PATH",
    "OMP_NUM_THREADS",
    "CUDA_VISIBLE_DEVICES",
)
_SET_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONHASHSEED": "0",
    "OMP_WAIT_POLICY": "PASSIVE",  # threads that spin while chat has their core make a step over 20 times slower
    "GOMP_SPINCOUNT": "3000",  # but for a fraction of a millisecond: to wake a thread costs as much (docs/log.md)
}
_NICENESS = 5
_LAUNCH_OPTIONS = (
    *("--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--num_cpu_threads_per_process", "1"),
    *("--main_process_port", "0"),  # any free one
)


def count_cores() -> int:
    """Physical cores that this process may use: more threads than these only slow training down."""
    return min(psutil.cpu_count(logical=False) or 1, len(os.sched_getaffinity(0)))


def lower_priority(pid: int) -> None:
    """Let chat go before that process."""
    niceness = max(_NICENESS, os.getpriority(os.PRIO_PROCESS, 0))  # nobody may lower it
    os.setpriority(os.PRIO_PROCESS, pid, niceness)


def build_command(folder: Path, launcher: str = "python", processes: int = 1) -> list[str]:
    """The command line of a trainer, for a recipe's `launcher` and `processes`."""
    trainer = ["-m", "trainer", str(folder), "--exit-with-parent"]
    if launcher == "python":
        return [sys.executable, *trainer]
    launch = ["-m", "accelerate.commands.launch", *_LAUNCH_OPTIONS, "--num_processes", str(processes)]
    if processes > 1:
        launch.append("--multi_gpu")  # its name for several processes; where there is no GPU they meet over gloo
    return [sys.executable, *launch, *trainer]


class TrainerProcess:
    """`python -m trainer RUN_DIR`, or several of them; leaving the context kills whatever still runs.

    The trainer watches its standard input and ends with it, so it does not outlive a worker that was killed.
    """

    def __init__(self, folder: Path, recipe: Recipe | None = None, *, silence_s: float = 3600.0) -> None:
        """Start it; one that says nothing for `silence_s` seconds hangs and is killed."""
        recipe = recipe or Recipe()
        self._silence_s = silence_s
        self._is_launched = recipe.launcher != "python"
        self._folder = folder
        self._log = (folder / LOG_FILE).open("wb")
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(
            build_command(folder, recipe.launcher, recipe.processes),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment | _SET_ENVIRONMENT,
            cwd=Path(__file__).parents[1],
            process_group=0,  # no session: the kernel may share the processor between sessions, whatever their niceness
            text=True,
        )
        lower_priority(self._process.pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout, self._log):
            if stream:
                stream.close()

    @property
    def pid(self) -> int:
        """Process id of the trainer."""
        return self._process.pid

    def events(self) -> Iterator[dict[str, Any]]:
        """The trainer's events, until it closes its output.

        Raises:
            TrainerFailed: it did not end with `done`; the sentence is the trainer's own where it gave one.
            TrainerKilled: a signal ended it, or a shortage of memory or disk, which may have passed by the next time;
                or it hung.
        """
        assert self._process.stdout is not None
        last: dict[str, Any] = {}
        with Watchdog(self._silence_s, self.kill) as watchdog:
            for line in self._process.stdout:
                watchdog.hear()
                if not line.endswith("\n"):
                    break  # it was killed in the midst of a line
                last = json.loads(line)
                yield last
        code = self._process.wait()
        if watchdog.has_fired:
            raise TrainerKilled(
                f"The trainer gave no sign of life for {self._silence_s:g} s and was ended; {LOG_FILE} may say why. "
                "RATCHET_TRAINER_SILENCE_S allows more."
            )
        if last.get("event") == "error":
            raise (TrainerKilled if last.get("retry") else TrainerFailed)(last["message"])
        if code < 0:
            raise TrainerKilled(f"The trainer was killed by {signal.Signals(-code).name}; {LOG_FILE} may say why.")
        if self._is_launched and last.get("event") != "done":
            raise TrainerKilled(f"A process of the trainer was killed or crashed; {LOG_FILE} says why.")
        if code != 0 or last.get("event") != "done":
            raise TrainerFailed(f"The trainer ended with exit code {code}; {self._folder / LOG_FILE} says why.")

    def kill(self) -> None:
        """End the whole process group at once."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                os.killpg(self._process.pid, signal.SIGKILL)
