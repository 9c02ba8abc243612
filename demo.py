"""`ratchet demo`: the whole loop on the samples, as a client sees it, in minutes and on two processor cores.

Starts the embedded stack in a folder of its own below RATCHET_VAR, imports examples, chats, rates, improves, and chats
with what came out. The rater is simulated and has a hidden preference; every place that shows its ratings says so.
"""

from __future__ import annotations

import contextlib
import csv
import json
import math
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from scipy import stats

from data.errors import RatchetError
from data.vocabulary import KeyRole, RunStatus
from db.keys import create_key
from db.session import Database
from settings import get_settings
from stack import lock_folder

SAMPLES = Path(__file__).parent / "data" / "samples"
EXAMPLES = ("support.csv", "everyday.csv", "boundaries.csv", "grave.csv")
HUB_MODEL, PACKAGED_MODEL = "gpt2", "smollm2-135m"
RATED, UNSEEN = 160, 80  # contexts that are rated, and others for before and after
REPLY_TOKENS = 60
STREAMS = 32  # chats under way at once
CHAT_EVERY_S = 10.0  # while the run trains
READY_S, RUN_S = 600.0, 2700.0
# The training that was promoted in docs/loop.md, on a third of the examples: all of them would take half an hour.
RECIPE = {
    "method": "sft",
    "trainable": "last:8",
    "sft_learning_rate": 3e-4,
    "sft_epochs": 2,
    "early_stopping_patience": 0,
    "replay_share": 0.35,
    "max_tokens": 192,
    "reply_tokens": REPLY_TOKENS,
    "max_holdout_rows": 200,
    "safety_items": 120,  # of 833: all of them would take as long as the training
}
_SHARED_PLACES = ("database_url", "broker_url", "artifacts_url", "engine_url")  # settings that point out of the folder

_FEELING = re.compile(
    r"\b(?:feel|felt|sorry|hard|difficult|tough|sad|lonel|alone|worr|anxi|overwhelm|hurt|scar|afraid|frustrat|struggl|stress"
    r"|pain|grie|emotion)\w*",
    re.IGNORECASE,
)


class DemoFailed(RatchetError):
    """The demo could not go on; the logs in its folder say why."""


@dataclass
class Client:
    """A chat client that counts its requests and failures."""

    http: httpx.Client
    requests: int = 0
    failures: int = 0

    def chat(self, context: str, tokens: int = REPLY_TOKENS, temperature: float = 0.8) -> dict[str, Any] | None:
        """One reply, or None after a failure."""
        body = {
            "messages": [{"role": "user", "content": context}],
            "max_tokens": tokens,
            "temperature": temperature,
        }
        return self._post("/v1/chat/completions", body)

    def rate(self, completion: dict[str, Any], rating: str, rater: str) -> None:
        """A thumb for one reply."""
        body = {"completion_id": completion["id"], "rating": rating, "user": rater, "rater_kind": "simulated"}
        self._post("/v1/feedback", body)

    def _post(self, path: str, body: dict[str, Any]) -> dict[str, Any] | None:
        self.requests += 1
        try:
            response = self.http.post(path, json=body)
            response.raise_for_status()
        except httpx.HTTPError:
            self.failures += 1
            return None
        answer: dict[str, Any] = response.json()
        return answer


def likes(reply: str) -> bool:
    """The hidden preference of the simulated rater: the reply names a feeling or a strain.

    Not that it speaks to the person: "You're right" would be liked then, training would learn to agree, and the gate
    would refuse it for that, as it should.
    """
    return _FEELING.search(reply) is not None


def run_demo(console: Console) -> int:
    """Run the demo and write report.json; 0 when it went through without a failed request."""
    started_s = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the stack is stopped on the way out
    base_model = os.environ.get("RATCHET_BASE_MODEL") or _choose_base()
    console.print(f"Base model: [bold]{base_model}[/] (135M parameters or less, on this machine's processor)")
    settings = get_settings().model_copy(update=dict.fromkeys(_SHARED_PLACES, ""))
    settings.var = folder = empty_folder(settings.var)
    with (
        open_stack(base_model, folder) as address,
        open_clients(settings.database, address) as (client, admin, keys),
    ):
        report = _turn_the_loop(console, client, admin, settings.runs) | {"base_model": base_model}
        report["minutes"] = round((time.monotonic() - started_s) / 60, 2)
        (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
        console.print(f"\nReport: {folder / 'report.json'}; {report['minutes']} minutes.", highlight=False)
        if sys.stdin.isatty() and sys.stdout.isatty():
            _stay(console, address, keys)
    return 0 if report["failed_requests"] == 0 else 1


def empty_folder(var: Path) -> Path:
    """The demo's folder below `var`, without what an earlier demo left there.

    Raises:
        Conflict: a demo is running in it.
    """
    folder = var / "demo"
    with lock_folder(folder):
        shutil.rmtree(folder)
    folder.mkdir()
    return folder


def import_samples(admin: httpx.Client) -> None:
    """Send the examples of `data/samples`, as an admin would."""
    for name in EXAMPLES:
        with (SAMPLES / name).open("rb") as file:
            admin.post("/v1/admin/examples", files={"file": (name, file, "text/csv")}).raise_for_status()


def _turn_the_loop(console: Console, client: Client, admin: httpx.Client, runs: Path) -> dict[str, Any]:
    contexts = _read_contexts()
    rated, unseen = contexts[:RATED], contexts[RATED : RATED + UNSEEN]
    import_samples(admin)
    console.print(f"A simulated rater with a hidden preference rates {len(rated)} replies.")
    with ThreadPoolExecutor(STREAMS) as pool:
        ups = list(
            _track(
                console,
                "chatting and rating",
                pool.map(lambda c: _chat_and_rate(client, *c), enumerate(rated)),
                len(rated),
            )
        )
        before = list(_track(console, "unseen contexts, before", pool.map(client.chat, unseen), len(unseen)))
        console.print(f"  {np.mean(ups):.0%} of the replies got a thumb up.")
        run = _improve(console, client, admin, unseen)
        version = _await_served(admin, run)
        after = list(_track(console, "unseen contexts, after", pool.map(client.chat, unseen), len(unseen)))
    return _summarise(console, client, runs / run["id"], run, version, unseen, before, after)


def _chat_and_rate(client: Client, number: int, context: str) -> bool:
    completion = client.chat(context)
    if completion is None:
        return False
    is_up = likes(read_reply(completion))
    client.rate(completion, "up" if is_up else "down", f"simulated-{number % 80}")
    return is_up


def _improve(console: Console, client: Client, admin: httpx.Client, contexts: list[str]) -> dict[str, Any]:
    """Trigger a run and follow it, while a client goes on chatting."""
    response = admin.post("/v1/admin/runs", json={"recipe": RECIPE})
    response.raise_for_status()
    run: dict[str, Any] = response.json()
    done = threading.Event()
    chatter = threading.Thread(target=_chat_until, args=(client, contexts, done))
    chatter.start()
    deadline_s = time.monotonic() + RUN_S
    try:
        with _bars(console) as bars:
            task = bars.add_task("queued", total=None)
            while RunStatus(run["status"]).is_active:
                if time.monotonic() > deadline_s:
                    raise DemoFailed(f"The run {run['id']} did not end within {RUN_S / 60:.0f} minutes.")
                progress = run.get("progress") or {}
                bars.update(
                    task,
                    description=progress.get("stage", run["status"]),
                    completed=progress.get("step", 0),
                    total=progress.get("of"),
                )
                time.sleep(1)
                run = admin.get(f"/v1/admin/runs/{run['id']}").raise_for_status().json()
    finally:
        done.set()
        chatter.join()
    return run


def _chat_until(client: Client, contexts: list[str], done: threading.Event) -> None:
    for number in range(10_000):
        if done.wait(CHAT_EVERY_S):
            return
        client.chat(contexts[number % len(contexts)])


def _await_served(admin: httpx.Client, run: dict[str, Any]) -> int:
    """The version that is served after the run, once the swap is through."""
    wanted = run["version_number"] if run["status"] == RunStatus.SUCCEEDED else 0
    for _ in range(120):
        served = int(admin.get("/readyz").json().get("version", -1))
        if served == wanted:
            return served
        time.sleep(0.5)
    raise DemoFailed(f"Version {wanted} was promoted but is not served.")


def _summarise(
    console: Console,
    client: Client,
    folder: Path,
    run: dict[str, Any],
    version: int,
    unseen: list[str],
    before: list[dict[str, Any] | None],
    after: list[dict[str, Any] | None],
) -> dict[str, Any]:
    pages = sorted(folder.glob("attempt-*/report.json"))
    detail = json.loads(pages[-1].read_text()) if pages else {}
    decision = detail.get("decision") or {"verdict": run["status"], "reasons": [{"sentence": run.get("reason") or ""}]}
    metrics = {
        name: {key: metric[key] for key in ("before", "after", "low", "high")}
        for name, metric in detail.get("metrics", {}).items()
    }
    metrics["simulated_up_share"] = share = _compare_shares(before, after)
    console.print(f"\nVerdict: [bold]{decision['verdict']}[/]")
    for reason in decision["reasons"]:
        console.print(f"  {reason['sentence']}", highlight=False)
    console.print(
        f"On {len(unseen)} unseen contexts the simulated rater's up share went from {share['before']:.0%} to "
        f"{share['after']:.0%} (difference {share['low']:+.0%} to {share['high']:+.0%}, 95 %).",
        highlight=False,
    )
    for context, old, new in list(zip(unseen, before, after, strict=True))[:2]:
        console.print(f"\n[bold]> {context}[/]", highlight=False)
        console.print(f"  before: {read_reply(old)}", highlight=False, markup=False)
        console.print(f"  after:  {read_reply(new)}", highlight=False, markup=False)
    console.print(f"\n{client.requests} requests, {client.failures} failed.", highlight=False)
    return {
        "versions": {"before": 0, "after": version},
        "verdict": decision["verdict"],
        "reasons": [reason["sentence"] for reason in decision["reasons"]],
        "metrics": metrics,
        "requests": client.requests,
        "failed_requests": client.failures,
        "rater": "simulated, with a hidden preference",
    }


def _compare_shares(before: list[dict[str, Any] | None], after: list[dict[str, Any] | None]) -> dict[str, float]:
    """Up shares and the 95 % t interval of their paired difference."""
    pairs = [
        (likes(read_reply(old)), likes(read_reply(new))) for old, new in zip(before, after, strict=True) if old and new
    ]
    old, new = np.array(pairs, dtype=float).T
    difference = new - old
    half = float(stats.t.ppf(0.975, len(pairs) - 1)) * float(difference.std(ddof=1)) / math.sqrt(len(pairs))
    mean = float(difference.mean())
    return {"before": float(old.mean()), "after": float(new.mean()), "low": mean - half, "high": mean + half}


def _choose_base() -> str:
    """GPT-2 when the hub or its cache has it, else the model that a package carries."""
    cache = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface")) / "hub" / f"models--{HUB_MODEL}"
    if cache.exists():
        return HUB_MODEL
    try:
        endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        httpx.head(
            f"{endpoint}/{HUB_MODEL}/resolve/main/config.json", timeout=3, follow_redirects=True
        ).raise_for_status()
    except httpx.HTTPError:
        return PACKAGED_MODEL
    return HUB_MODEL


@contextlib.contextmanager
def open_stack(base_model: str, folder: Path, settings: Mapping[str, str] | None = None) -> Iterator[str]:
    """The embedded stack on a free port, stopped at the end; `settings` are variables of its environment.

    It keeps everything in `folder`, whatever database, broker or store this machine is set up for.
    """
    port = os.environ.get("RATCHET_PORT") or str(_find_free_port())
    own = {f"RATCHET_{name.upper()}": "" for name in _SHARED_PLACES}
    environment = (
        os.environ
        | own
        | {
            "RATCHET_BASE_MODEL": base_model,
            "RATCHET_PORT": port,
            "RATCHET_VAR": str(folder),
            "RATCHET_VISITOR_CHAT": "true",
            **(settings or {}),
        }
    )
    with (folder / "up.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "cli", "up"], env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            _await_ready(process, address := f"http://127.0.0.1:{port}", folder)
            yield address
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=60)


def _await_ready(process: subprocess.Popen[bytes], address: str, folder: Path) -> None:
    deadline_s = time.monotonic() + READY_S
    while time.monotonic() < deadline_s:
        if process.poll() is not None:
            lines = (folder / "up.log").read_text().strip().splitlines()
            raise DemoFailed(lines[-1] if lines else None)
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(f"{address}/readyz", timeout=2).status_code == httpx.codes.OK:
                return
        time.sleep(0.5)
    raise DemoFailed(f"The stack was not ready within {READY_S:.0f} s; {folder / 'logs'} says why.")


@contextlib.contextmanager
def open_clients(database_url: str, address: str) -> Iterator[tuple[Client, httpx.Client, dict[str, str]]]:
    """A chat client, an admin's, and the keys of both by role."""
    database = Database(database_url)
    with database.transaction() as session:
        keys = {role.value: create_key(session, role, "demo")[1] for role in (KeyRole.CLIENT, KeyRole.ADMIN)}
    database.dispose()
    options = {"base_url": address, "timeout": 120.0}
    with (
        httpx.Client(headers={"Authorization": f"Bearer {keys['client']}"}, **options) as http,  # type: ignore[arg-type]
        httpx.Client(headers={"Authorization": f"Bearer {keys['admin']}"}, **options) as admin,  # type: ignore[arg-type]
    ):
        yield Client(http), admin, keys


def _stay(console: Console, address: str, keys: dict[str, str]) -> None:
    console.print(f"\nOpen {address} to chat and rate; no key is needed.", highlight=False)
    console.print(
        f"The dashboard, {address}/dashboard, takes the admin key {keys['admin']}", highlight=False, soft_wrap=True
    )
    console.print(f"Programs take the client key {keys['client']}", highlight=False, soft_wrap=True)
    console.print("Ctrl-C stops it.")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


def _read_contexts() -> list[str]:
    with (SAMPLES / "prompts.csv").open(newline="") as file:
        return [row["Context"] for row in csv.DictReader(file)]


def read_reply(completion: dict[str, Any] | None) -> str:
    """The text of a completion; empty where there is none."""
    return str(completion["choices"][0]["message"]["content"]) if completion else ""


def _find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _bars(console: Console) -> Progress:
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console)


def _track(console: Console, title: str, items: Iterator[Any], total: int) -> Iterator[Any]:
    with _bars(console) as bars:
        yield from bars.track(items, total=total, description=title)
