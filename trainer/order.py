"""run.json: what the worker wants of a run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.recipe import Recipe, build_recipe
from serving.artifact import Artifact, load_artifact
from serving.engines import EngineChoice
from trainer.trunk_cache import TrunkCacheOrder


@dataclass(frozen=True)
class RunOrder:
    """What to train from, what to compare with, and how.

    Attributes:
        anchor: the best version ever, against losses that add up; None where there is none or it is production.
        previous: production's predecessor, for the guard against reuse of the hold-out; None where there is none.
        holdout_cache: folder where answers of production, anchor and previous are kept; None keeps none.
    """

    folder: Path
    run_id: str
    attempt: int
    base: Artifact
    production: Artifact
    production_version: int
    recipe: Recipe
    anchor: Artifact | None = None
    previous: Artifact | None = None
    threads: int = 0  # processor threads of all processes together; 0: as many as torch takes
    trunk_cache: TrunkCacheOrder | None = None  # None: the trunk remembers in memory, for this run only
    holdout_cache: Path | None = None
    compute_type: str = "float32"  # of the engine that will serve; auto: what each artifact's manifest says
    engine: EngineChoice = "auto"  # what will serve


def load_order(folder: Path) -> RunOrder:
    """Read and verify run.json and the artifacts that it names."""
    values = json.loads((folder / "run.json").read_text())
    production = load_artifact(Path(values["production"]))
    anchor = _load_artifact(values.get("anchor"))
    return RunOrder(
        folder=folder,
        run_id=values["run_id"],
        attempt=values["attempt"],
        base=load_artifact(Path(values["base"])),
        production=production,
        production_version=values["production_version"],
        recipe=build_recipe(values["recipe"]),
        anchor=anchor if anchor and anchor.digest != production.digest else None,
        previous=_load_artifact(values.get("previous")),
        threads=values.get("threads", 0),
        trunk_cache=_load_cache_order(values.get("trunk_cache")),
        holdout_cache=Path(values["holdout_cache"]) if values.get("holdout_cache") else None,
        compute_type=values.get("compute_type", "float32"),
        engine=values.get("engine", "auto"),
    )


def _load_artifact(folder: str | None) -> Artifact | None:
    return load_artifact(Path(folder)) if folder else None


def _load_cache_order(values: dict[str, Any] | None) -> TrunkCacheOrder | None:
    return TrunkCacheOrder(folder=Path(values["folder"]), limit_bytes=values["limit_bytes"]) if values else None
