"""A run under way, and the folder of an attempt as the trainer leaves it, for tests of what follows training."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from data.recipe import Recipe
from db.runs import claim_run, create_run
from db.session import Database
from serving.artifact import seal_artifact
from settings import Settings
from tests.unit.worker.few_scores import build_scores
from worker.collection import Attempt
from worker.verdict_page import MARKER

BETTER, WORSE = {"rouge_l": 0.022}, {"rouge_l": -0.05}


def queue(database: Database) -> str:
    """A run that nobody holds; its id."""
    with database.transaction() as session:
        return create_run(session, {}, "admin").id


def claim(database: Database, settings: Settings, run_id: str, lease_s: float = -1) -> Attempt:
    """The next attempt of a run; its lease has ended, as that of a worker that was killed, unless another is given."""
    with database.transaction() as session:
        run = claim_run(session, run_id, "worker", lease_s)
    assert run is not None
    return Attempt(run_id, run.attempt, Recipe(), settings.runs / run_id / f"attempt-{run.attempt}")


def leave_candidate(attempt: Attempt, weights: str, gains: dict[str, float]) -> str:
    """Write artifact, reports and scores into the attempt's folder; returns the digest of the artifact."""
    artifact = attempt.folder / "artifact"
    artifact.mkdir(parents=True)
    (artifact / "config.json").write_text(json.dumps(weights))
    digest = seal_artifact(artifact, base_model="tiny")
    report = {"digest": digest, "attempt": attempt.number, "metrics": {"rouge_l": {"after": 0.4}}}
    (attempt.folder / "report.json").write_text(json.dumps(report))
    (attempt.folder / "report.html").write_text(f"{MARKER}<h2>ROUGE-L 0.4</h2><h2>Training</h2>")
    pd.DataFrame(_list_lines(gains)).to_parquet(attempt.folder / "scores.parquet")
    return digest


def _list_lines(gains: dict[str, float]) -> list[dict[str, Any]]:
    return [
        {
            "metric": scores.name,
            "row_id": str(row),
            "cluster": scores.cluster[row],
            "weight": 1.0,
            "is_up": None,
            "candidate": scores.candidate[row],
            "production": scores.production[row],
        }
        for scores in build_scores(**gains)
        for row in range(len(scores.cluster))
    ]
