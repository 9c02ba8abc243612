"""The embedded stack as processes, `ratchet up`, on a tiny random GPT-2: driven over HTTP, stopped with SIGTERM."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from data.vocabulary import KeyRole, RunStatus
from db.keys import create_key
from db.session import Database
from tests.processes import await_value, build_environment, find_free_port, is_ready, list_children
from tests.tiny import SAMPLES, build_tiny_gpt2

LEARNS = {
    "trainable": "full",
    "sft_epochs": 3,
    "sft_learning_rate": 3e-3,
    "preference_epochs": 0,
    "max_tokens": 256,
    "reply_tokens": 16,
    "safety_items": 8,
    # What a model of random weights says is noise, and so is how long and varied it is.
    "margins": {"reply_words": 100, "chrf": 100, "distinct_2": 100, "repetition": 100},
}


@dataclass
class Running:
    """A running stack with the HTTP clients of an admin and of a chat product."""

    process: subprocess.Popen[bytes]
    folder: Path
    environment: dict[str, str]
    admin: httpx.Client
    client: httpx.Client

    def queue_run(self, **recipe: Any) -> str:
        """Queue a run and return its id."""
        answer = self.admin.post("/v1/admin/runs", json={"recipe": recipe})
        assert answer.status_code == httpx.codes.ACCEPTED, answer.text
        return str(answer.json()["id"])

    def get_run(self, run_id: str) -> dict[str, Any]:
        """The run as the API shows it."""
        return dict(self.admin.get(f"/v1/admin/runs/{run_id}").raise_for_status().json())

    def await_end(self, run_id: str) -> dict[str, Any]:
        """The run once it has its outcome."""
        run: dict[str, Any] = await_value(
            lambda: self.get_run(run_id), lambda run: not RunStatus(run["status"]).is_active
        )
        return run

    def list_version_numbers(self) -> list[int]:
        """All versions, newest first."""
        return [row["number"] for row in self.admin.get("/v1/admin/versions").raise_for_status().json()["data"]]

    def await_served(self, version: int) -> None:
        """Wait until the API answers with that version."""
        await_value(lambda: self.client.get("/readyz").json().get("version"), lambda served: served == version)

    def chat(self, text: str) -> dict[str, Any]:
        """One greedy reply."""
        body = {"messages": [{"role": "user", "content": text}], "max_tokens": 12, "temperature": 0}
        return dict(self.client.post("/v1/chat/completions", json=body).raise_for_status().json())

    def await_process(self, *words: str) -> psutil.Process:
        """A process of the stack whose command line holds all `words`."""
        process: psutil.Process = await_value(lambda: self.find_process(*words), lambda found: found is not None)
        return process

    def find_process(self, *words: str) -> psutil.Process | None:
        """Such a process, if there is one now."""
        return next(iter(list_children(*words, of=self.process.pid)), None)


@contextmanager
def run_stack(root: Path, **settings: object) -> Iterator[Running]:
    """`ratchet up` in a folder of its own below `root`, with the samples imported."""
    folder = root / "var"
    base = build_tiny_gpt2(root / "tiny")
    address = f"http://127.0.0.1:{(port := find_free_port())}"
    quick = {"tick_s": 1, "lease_s": 4}
    environment = build_environment(var=folder, port=port, base_model=base, **quick | settings)
    process = subprocess.Popen([sys.executable, "-m", "cli", "up"], env=environment, stdin=subprocess.DEVNULL)
    try:
        await_value(lambda: is_ready(address), bool)
        database = Database(f"sqlite:///{folder / 'ratchet.db'}")
        with database.transaction() as session:
            secrets = [create_key(session, role, "test")[1] for role in (KeyRole.ADMIN, KeyRole.CLIENT)]
        database.dispose()
        clients = [
            httpx.Client(base_url=address, headers={"Authorization": f"Bearer {secret}"}, timeout=60)
            for secret in secrets
        ]
        with clients[0] as admin, clients[1] as client:
            with (SAMPLES / "support.csv").open("rb") as file:
                admin.post("/v1/admin/examples", files={"file": ("support.csv", file)}).raise_for_status()
            yield Running(process, folder, environment, admin, client)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
