"""One run without database and broker: rows to a snapshot, `python -m trainer`, and the gate's verdict on its files."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from data.curation import CurationResult, build_snapshot_rows, check_sufficiency
from data.overlap import list_word_runs
from data.recipe import Recipe, build_recipe
from data.snapshot import save_snapshot
from data.splitting import DEFAULT_SALT, assign_split, context_cluster
from data.vocabulary import PoolRow, RowKind, SnapshotRow, Split, Verdict
from settings import Settings
from worker.evidence import load_evidence
from worker.gate import decide
from worker.scores import load_scores
from worker.trainer_process import TrainerProcess, count_cores

SKIPPED, STOPPED_ON_DEV = "skipped", "stopped_on_dev"
_CACHE_BYTES = 4 * 10**9
_MODEST = {"safety_items": 24}  # of a whole evaluation only what the benchmark needs


@dataclass(frozen=True, kw_only=True)
class Judged:
    """What a run came to.

    Attributes:
        verdict: of the gate, or SKIPPED, or STOPPED_ON_DEV.
        reasons: sentences, those that decided first.
        p, alpha: of the gate; None where it was not asked.
    """

    verdict: str
    reasons: tuple[str, ...]
    p: float | None = None
    alpha: float | None = None

    @property
    def is_promoted(self) -> bool:
        """Whether the candidate is production now."""
        return self.verdict == Verdict.PROMOTE


def parse_recipe(assignments: Sequence[str], **defaults: Any) -> Recipe:
    """A recipe of `defaults` and KEY=VALUE texts; a value is JSON, or else a text.

    Raises:
        InvalidRecipe: a field is unknown or out of range.
        ValueError: an assignment has no "=".
    """
    known = {field.name for field in dataclasses.fields(Recipe)}
    values = {name: value for name, value in _MODEST.items() if name in known} | defaults
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise ValueError(f"{assignment!r} is not KEY=VALUE.")
        try:
            values[name] = json.loads(value)
        except json.JSONDecodeError:
            values[name] = value
    return build_recipe(values)


def find_base(name: str, folder: Path) -> Path:
    """The artifact of a base model: `name` itself where it is one, else made once, in its own folder in `folder`."""
    if (Path(name) / "manifest.json").exists():
        return Path(name).absolute()
    made = (folder / name.strip("/").replace("/", "--")).absolute()
    if not (made / "manifest.json").exists():
        subprocess.run([sys.executable, "-m", "trainer.base", name, str(made)], check=True, stdout=subprocess.DEVNULL)
    return made


def collect(pool: Sequence[PoolRow], *, is_defended: bool = True) -> CurationResult:
    """The rows of a snapshot; undefended, nothing is left out but what would give the hold-out away."""
    if is_defended:
        return build_snapshot_rows(pool)
    rows = [SnapshotRow(row=row, split=assign_split(row.cluster)) for row in pool]
    held_out = [item.row for item in rows if item.split is Split.HOLDOUT]
    contexts = {context_cluster(row.context) for row in held_out}
    runs = {run for row in held_out for run in list_word_runs(row.context)}
    runs |= {run for row in held_out if row.kind is not RowKind.REPLY for run in list_word_runs(row.reply)}

    def gives_away(row: PoolRow) -> bool:
        said = list_word_runs(row.context) | list_word_runs(row.reply)
        return context_cluster(row.context) in contexts or not runs.isdisjoint(said)

    kept = [item for item in rows if item.split is Split.HOLDOUT or not gives_away(item.row)]
    return CurationResult(tuple(kept), {"holdout_overlap": len(rows) - len(kept)})


def train(
    folder: Path,
    result: CurationResult,
    recipe: Recipe,
    *,
    base: Path,
    production: Path,
    version: int = 0,
    cache: Path | None = None,
) -> str | None:
    """Run the trainer in `folder`; None, or why there was too little to train on. Any earlier content is removed.

    Args:
        cache: folder of what runs keep of the frozen blocks' output; what models answered is kept beside it.

    Raises:
        RatchetError: the trainer failed.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    missing = check_sufficiency(result.rows, recipe)
    if missing:
        return " ".join(missing)
    save_snapshot(folder / "snapshot", result, len(result.rows) + sum(result.dropped.values()), DEFAULT_SALT)
    order = {
        "run_id": folder.name,
        "attempt": 1,
        "base": str(base.absolute()),
        "production": str(production.absolute()),
        "production_version": version,
        "recipe": recipe.to_dict(),
        "threads": count_cores(),
        "compute_type": Settings().compute_type,
        "trunk_cache": {"folder": str(cache.absolute()), "limit_bytes": _CACHE_BYTES} if cache else None,
        "holdout_cache": str(cache.absolute().with_name("holdout-cache")) if cache else None,
    }
    (folder / "run.json").write_text(json.dumps(order, indent=2) + "\n")
    with TrainerProcess(folder.absolute(), recipe) as trainer:
        for event in trainer.events():
            if event["event"] == "stage":
                print(f"    {time.strftime('%H:%M:%S')} {event['stage']}", flush=True)
    return None


def judge(folder: Path, recipe: Recipe, consultation: int) -> Judged:
    """What the gate says of the files that the trainer left in `folder`; one that lost on dev is not shown to it."""
    dev = folder / "dev.json"
    if dev.exists():
        return Judged(verdict=STOPPED_ON_DEV, reasons=(json.loads(dev.read_text())["sentence"],))
    paired, rated = load_scores(folder / "scores.parquet")
    decision = decide(paired, rated, recipe.margins, consultation, load_evidence(folder), mode=recipe.gate_mode)
    reasons = tuple(reason.sentence for reason in decision.reasons)
    return Judged(verdict=decision.verdict.value, reasons=reasons, p=decision.p, alpha=decision.alpha)
