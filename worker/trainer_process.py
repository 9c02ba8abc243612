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

from worker.errors import TrainerFailed, TrainerKilled

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
_NICENESS = 5  # chat goes first


class TrainerProcess:
    """`python -m trainer RUN_DIR`; leaving the context kills whatever still runs.

    The trainer watches its standard input and ends with it, so it does not outlive a worker that was killed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = (folder / LOG_FILE).open("wb")
        environment = {name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "trainer", str(folder), "--exit-with-parent"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            env=environment | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0"},
            cwd=Path(__file__).parents[1],
            start_new_session=True,
            text=True,
        )
        os.setpriority(os.PRIO_PROCESS, self._process.pid, _NICENESS)

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
            TrainerKilled: a signal ended it.
        """
        assert self._process.stdout is not None
        last: dict[str, Any] = {}
        for line in self._process.stdout:
            last = json.loads(line)
            yield last
        code = self._process.wait()
        if last.get("event") == "error":
            raise TrainerFailed(last["message"])
        if code < 0:
            raise TrainerKilled(f"The trainer was killed by {signal.Signals(-code).name}; {LOG_FILE} may say why.")
        if code != 0 or last.get("event") != "done":
            raise TrainerFailed(f"The trainer ended with exit code {code}; {self._folder / LOG_FILE} says why.")

    def kill(self) -> None:
        """End the whole process group at once."""
        if self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has just ended by itself
                os.killpg(self._process.pid, signal.SIGKILL)
