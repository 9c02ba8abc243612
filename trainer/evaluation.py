"""Evaluation: candidate, production and anchor answer the same hold-out through the engine that will serve them.

Writes scores.parquet, slices.parquet and safety.parquet; where held-out ratings are enough for a reward head also
head.json and leave_one_out.parquet. What production, anchor and predecessor answer is taken from the hold-out's cache
where they were asked the same before, and whatever the candidate answers is kept for the day when it is production.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from data.vocabulary import PoolRow, SnapshotRow, Split
from serving.artifact import Artifact, load_artifact
from trainer.answers import Answers, check_references
from trainer.fresh_replies import open_judge
from trainer.holdout import Holdout, select_holdout
from trainer.interview import ALL_PARTS, Interview, Part, Questions, make_fit_check
from trainer.measures import measure_replies
from trainer.order import RunOrder
from trainer.progress import Progress
from trainer.safety_evaluation import build_message, build_safety_table, select_safety_items, summarise_safety
from trainer.score_table import REWARD, Reading, build_score_table, read_scores, save_table
from trainer.scoring import KnownTrunk
from trainer.slices import build_slices


@dataclass(frozen=True)
class Evaluation:
    """What the report tells of an evaluation."""

    holdout: Holdout
    candidate: Answers
    production: Answers
    table: pd.DataFrame  # scores.parquet
    facts: dict[str, Any]


def evaluate(order: RunOrder, rows: Sequence[SnapshotRow], trunk: KnownTrunk | None) -> Evaluation:
    """Ask all models, write the tables, and return what the report shows.

    Raises:
        ReferenceGiven: a prompt holds the reference that its reply would be scored against.
    """
    recipe = order.recipe
    fits_scored = make_fit_check(order.base, recipe.reply_tokens, is_scored=True)
    holdout = select_holdout(rows, recipe.max_holdout_rows, Split.HOLDOUT, fits_scored)
    check_references(holdout)
    judge, head = open_judge(order, holdout)
    (order.folder / "head.json").write_text(json.dumps(head.to_dict(), indent=2) + "\n")
    prompts = holdout.list_prompts() if judge else []
    fits = make_fit_check(order.base, recipe.reply_tokens)
    safety = [item for item in select_safety_items(recipe.safety_items) if fits(build_message(item))]
    questions = Questions(holdout, safety, prompts, recipe.samples_per_prompt)
    models = _list_models(order)
    interview = _ask_all(order, models, questions, trunk)
    readings = _read_all(order, models, interview)
    if judge:
        for role, artifact in models.items():
            readings[role][REWARD] = judge.judge(artifact, prompts, interview.get_fresh(artifact))
        left_out = judge.build_leave_one_out(prompts, models["candidate"], models["production"])
        save_table(left_out, order.folder / "leave_one_out.parquet")
    table = build_score_table(holdout, prompts, readings)
    save_table(table, order.folder / "scores.parquet")
    save_table(_slice(rows, [*holdout.references, *holdout.rated]), order.folder / "slices.parquet")
    replies = {role: interview.get_safety(artifact) for role, artifact in models.items() if role != "previous"}
    judged = build_safety_table(safety, replies["candidate"], replies["production"], replies.get("anchor"))
    save_table(judged, order.folder / "safety.parquet")
    candidate, production = (interview.get_answers(models[role]) for role in ("candidate", "production"))
    facts = {"head": head.to_dict(), "safety": summarise_safety(judged), "answers_from_cache": interview.taken}
    return Evaluation(holdout, candidate, production, table, facts)


def _list_models(order: RunOrder) -> dict[str, Artifact]:
    """The artifacts by the role that they have in this comparison."""
    others = {"anchor": order.anchor, "previous": order.previous}
    models = {"candidate": load_artifact(order.folder / "artifact"), "production": order.production}
    return models | {role: artifact for role, artifact in others.items() if artifact is not None}


def _ask_all(order: RunOrder, models: dict[str, Artifact], questions: Questions, trunk: KnownTrunk | None) -> Interview:
    """Ask each model all that some role of it needs."""
    wanted: dict[str, set[Part]] = {}
    asked = [*models.items(), ("base", order.base)]
    for role, artifact in asked:
        wanted.setdefault(artifact.digest, set()).update(_list_parts(role, questions))
    steps = sum(questions.count(part) for parts in wanted.values() for part in parts)
    interview = Interview(order, questions, Progress("evaluating", steps), trunk)
    for artifact in {artifact.digest: artifact for _, artifact in asked}.values():
        interview.ask(artifact, [part for part in ALL_PARTS if part in wanted[artifact.digest]])
    return interview


def _list_parts(role: str, questions: Questions) -> tuple[Part, ...]:
    """What a role must answer: the predecessor has no safety set, and the base is only subtracted from ratings."""
    if role == "base":
        return ("rated",)
    if role == "previous":
        return ("references", "replies", "fresh") if questions.prompts else ("references",)
    return ALL_PARTS


def _read_all(order: RunOrder, models: dict[str, Artifact], interview: Interview) -> dict[str, Reading]:
    """The numbers of each model, reward aside."""
    base = interview.get_answers(order.base)
    references = interview.questions.holdout.references
    readings: dict[str, Reading] = {}
    for role, artifact in models.items():
        answers = interview.get_answers(artifact)
        readings[role] = read_scores(answers, None if role == "previous" else base)
        if role != "previous":
            readings[role] |= measure_replies(references, answers.replies)
    return readings


def _slice(rows: Sequence[SnapshotRow], asked: list[PoolRow]) -> pd.DataFrame:
    return build_slices(asked, Counter(item.row.rater for item in rows if item.row.rater is not None))
