"""What a scenario runs on: `Line`, and the one over files only; the real stack is `benchmarks/loop/stack_line.py`."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from benchmarks.loop.attack import build_attack_rows
from benchmarks.loop.scenarios import Thumb, build_example_rows, build_rated_rows
from benchmarks.loop.speaker import Speaker
from benchmarks.loop.training import SKIPPED, Judged, collect, find_base, judge, train
from data.recipe import Recipe
from data.vocabulary import PoolRow


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What came of one cycle.

    Attributes:
        seconds: of the run, from the order to the verdict.
        candidate: its artifact; None where there is none.
        snapshot: what it was trained on; None where the run was skipped.
    """

    judged: Judged
    seconds: float
    candidate: Path | None = None
    snapshot: Path | None = None


class Line(Protocol):
    """Serves, takes thumbs, improves."""

    @property
    def first(self) -> Path:
        """Artifact of version 0."""

    @property
    def production(self) -> Path:
        """Artifact that answers now."""

    def chat(self, contexts: Sequence[str], cycle: int) -> list[str]:
        """A reply of production to each context; empty where it failed."""

    def learn(self, thumbs: Sequence[Thumb], cycle: int) -> Turn:
        """Take the thumbs on what the latest `chat` gave, run once, and go on with what was promoted."""


class FileLine:
    """Pool to snapshot to trainer to gate; the pool is in memory, the artifacts are in `folder`, which is emptied.

    Args:
        folder: beside it the base model and the trunk cache are kept, for all scenarios.
        attackers: fake accounts, which add their rows in every cycle.
        is_warm: train on the examples first, ask nobody, and call what comes out version 0.
    """

    def __init__(
        self,
        folder: Path,
        base: str,
        recipe: Recipe,
        examples: Sequence[tuple[str, str]],
        *,
        attackers: int = 0,
        is_defended: bool = True,
        is_warm: bool = False,
        seed: int = 0,
    ) -> None:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._base = self.first = self.production = find_base(base, folder.parent / "bases")
        self._folder, self._recipe, self._seed = folder.absolute(), recipe, seed
        self._attackers, self._is_defended = attackers, is_defended
        self._pool: list[PoolRow] = build_example_rows(examples)
        self._version, self._consultations = 0, 0
        if is_warm:
            self._train(self._folder / "warm", replace(recipe, method="sft"))
            self.first = self.production = self._folder / "warm" / "artifact"

    def chat(self, contexts: Sequence[str], cycle: int) -> list[str]:
        """See `Line`."""
        with Speaker(self.production, self._recipe.reply_tokens, seed=1000 * self._seed + cycle) as speaker:
            return speaker.reply(contexts)

    def learn(self, thumbs: Sequence[Thumb], cycle: int) -> Turn:
        """See `Line`."""
        started_s = time.monotonic()
        self._pool += build_rated_rows(thumbs, cycle)
        self._pool += build_attack_rows(self._attackers, cycle, self._seed)
        run = self._folder / f"run-{cycle}"
        missing = self._train(run, self._recipe)
        if missing:
            return Turn(judged=Judged(verdict=SKIPPED, reasons=(missing,)), seconds=time.monotonic() - started_s)
        judged = judge(run, self._recipe, self._consultations + 1)
        self._consultations += judged.p is not None
        if judged.is_promoted:
            self._version += 1
            self.production = run / "artifact"
        return Turn(
            judged=judged,
            seconds=time.monotonic() - started_s,
            candidate=run / "artifact",
            snapshot=run / "snapshot",
        )

    def _train(self, run: Path, recipe: Recipe) -> str | None:
        return train(
            run,
            collect(self._pool, is_defended=self._is_defended),
            recipe,
            base=self._base,
            production=self.production,
            version=self._version,
            cache=self._folder.parent / "trunk-cache",
        )
