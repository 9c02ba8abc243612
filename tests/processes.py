"""Processes of ours that tests start, and waiting for what happens in them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil

from settings import Settings


def await_value(ask: Callable[[], Any], is_wanted: Callable[[Any], bool], timeout_s: float = 150) -> Any:
    """Ask until the answer is wanted; it comes from other processes, so it can only be polled."""
    deadline_s = time.monotonic() + timeout_s
    while not is_wanted(value := ask()):
        assert time.monotonic() < deadline_s, f"still {value!r} after {timeout_s} s"
        threading.Event().wait(0.1)
    return value


def list_children(*words: str, of: int | None = None) -> list[psutil.Process]:
    """The processes below process `of` (this one unless told) that have each word among their arguments.

    One that ends while it is looked at has no arguments any more, and is left out.
    """
    return [child for child in psutil.Process(of).children(recursive=True) if set(words) <= set(_read_arguments(child))]


def _read_arguments(process: psutil.Process) -> list[str]:
    try:
        return list(process.cmdline())
    except psutil.NoSuchProcess:
        return []


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def is_ready(address: str) -> bool:
    try:
        return httpx.get(f"{address}/readyz", timeout=2).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def build_environment(**settings: object) -> dict[str, str]:
    """The environment of a process with these settings and no others."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("RATCHET_", "PYTEST_"))}
    return inherited | {f"RATCHET_{name.upper()}": str(value) for name, value in settings.items()}


@contextmanager
def run_api(
    settings: Settings, log: Path, program: str = "cli", **others: object
) -> Iterator[tuple[str, psutil.Process]]:
    """The address of an API in a process of its own that is ready, and the process; all it prints goes to `log`.

    `program` is the module that is run; `others` are further settings by name.
    """
    address = f"http://127.0.0.1:{(port := find_free_port())}"
    folders = {"var": settings.var, "artifacts_url": settings.artifacts_url}
    environment = build_environment(port=port, broker_url=settings.broker_url, **folders, **others)
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", program, "api"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        await_value(lambda: is_ready(address), bool)
        yield address, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
