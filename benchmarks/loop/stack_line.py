"""The real stack under a scenario: chat, feedback and runs over HTTP; its folder tells artifacts and snapshots."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from benchmarks.loop.lines import Turn
from benchmarks.loop.scenarios import Thumb
from benchmarks.loop.speaker import TEMPERATURE
from benchmarks.loop.training import SKIPPED, STOPPED_ON_DEV, Judged
from data.recipe import Recipe
from data.vocabulary import RunStatus, Verdict
from demo import Client, DemoFailed, import_samples, open_clients, open_stack, read_reply
from settings import Settings
from worker.base import DIGEST_LETTERS

_STREAMS = 16
_RUN_S, _SWAP_S, _POLL_S = 6 * 3600.0, 120.0, 1.0
_UNLIMITED = {"RATCHET_RATE_PER_MINUTE": "100000", "RATCHET_RATE_BURST": "100000"}  # the raters share one key


class StackLine:
    """A `Line` over HTTP; `open_line` makes it."""

    def __init__(self, client: Client, admin: httpx.Client, settings: Settings, recipe: Recipe) -> None:
        self._client, self._admin, self._settings, self._recipe = client, admin, settings, recipe
        self.first, self.production = self._name_folder(min(self._list(), key=_get_number)), self._find_production()
        self._completions: list[dict[str, Any] | None] = []

    def chat(self, contexts: Sequence[str], cycle: int) -> list[str]:  # noqa: ARG002
        """See `Line`; what is sampled is the server's business."""
        tokens = self._recipe.reply_tokens
        with ThreadPoolExecutor(_STREAMS) as pool:
            self._completions = list(
                pool.map(lambda context: self._client.chat(context, tokens, TEMPERATURE), contexts)
            )
        return [read_reply(completion) for completion in self._completions]

    def learn(self, thumbs: Sequence[Thumb], cycle: int) -> Turn:  # noqa: ARG002
        """See `Line`."""
        for completion, thumb in zip(self._completions, thumbs, strict=True):
            if completion is not None:
                self._client.rate(completion, "up" if thumb.is_up else "down", thumb.rater)
        started_s = time.monotonic()
        run = self._await_run()
        seconds = time.monotonic() - started_s
        judged = self._read_verdict(run)
        number = run["version_number"]
        if judged.is_promoted:
            self._await_served(number)
            self.production = self._find_production()
        snapshots = sorted((self._settings.runs / run["id"]).glob("attempt-*/snapshot"))
        return Turn(
            judged=judged,
            seconds=seconds,
            candidate=self._find_artifact(number) if number else None,
            snapshot=snapshots[-1] if snapshots else None,
        )

    def _await_run(self) -> dict[str, Any]:
        response = self._admin.post("/v1/admin/runs", json={"recipe": self._recipe.to_dict()})
        run: dict[str, Any] = response.raise_for_status().json()
        deadline_s = time.monotonic() + _RUN_S
        while RunStatus(run["status"]).is_active:
            if time.monotonic() > deadline_s:
                raise DemoFailed(f"The run {run['id']} did not end within {_RUN_S / 3600:.0f} hours.")
            time.sleep(_POLL_S)
            run = self._admin.get(f"/v1/admin/runs/{run['id']}").raise_for_status().json()
        if run["status"] in (RunStatus.FAILED, RunStatus.CANCELLED):
            raise DemoFailed(f"The run {run['id']} is {run['status']}: {run['reason']}")
        return run

    def _read_verdict(self, run: dict[str, Any]) -> Judged:
        told = (run["reason"] or "",)
        if run["status"] == RunStatus.SKIPPED:
            return Judged(verdict=SKIPPED, reasons=told)
        reports = sorted((self._settings.runs / run["id"]).glob("attempt-*/report.json"))
        decision = json.loads(reports[-1].read_text()).get("decision") if reports else None
        if decision is None:  # the gate was not asked
            return Judged(verdict=STOPPED_ON_DEV, reasons=told)
        is_promoted = run["status"] == RunStatus.SUCCEEDED
        verdict = Verdict.PROMOTE.value if is_promoted else decision["verdict"]
        reasons = tuple(reason["sentence"] for reason in decision["reasons"]) or told
        return Judged(verdict=verdict, reasons=reasons, p=decision["p"], alpha=decision["alpha"])

    def _await_served(self, number: int) -> None:
        deadline_s = time.monotonic() + _SWAP_S
        while int(self._admin.get("/readyz").json().get("version", -1)) != number:
            if time.monotonic() > deadline_s:
                raise DemoFailed(f"Version {number} was promoted but is not served.")
            time.sleep(_POLL_S)

    def _find_production(self) -> Path:
        return self._name_folder(next(version for version in self._list() if version["is_production"]))

    def _list(self) -> list[dict[str, Any]]:
        versions: list[dict[str, Any]] = self._admin.get("/v1/admin/versions").raise_for_status().json()["data"]
        return versions

    def _find_artifact(self, number: int) -> Path:
        return self._name_folder(self._admin.get(f"/v1/admin/versions/{number}").raise_for_status().json())

    def _name_folder(self, version: dict[str, Any]) -> Path:
        return self._settings.artifacts / version["digest"][:DIGEST_LETTERS]


def _get_number(version: dict[str, Any]) -> int:
    return int(version["number"])


@contextmanager
def open_line(folder: Path, base: str, recipe: Recipe, *, goes_on: bool = False) -> Iterator[StackLine]:
    """A stack of its own in `folder`, emptied and with our examples imported; or the one that is there already."""
    if not goes_on:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    settings = Settings(var=folder.absolute())
    with (
        open_stack(base, settings.var, _UNLIMITED) as address,
        open_clients(settings.database, address) as (client, admin, _),
    ):
        if not goes_on:
            import_samples(admin)
        yield StackLine(client, admin, settings, recipe)
