"""One evaluation of four models: every table that the gate reads, and what a second run need not ask again."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from data.vocabulary import Rating, RowKind, SnapshotRow, Split
from serving.artifact import Artifact, load_artifact
from tests.lessons import COLD, WARM, build_recipe, build_row, load_model
from trainer.evaluation import Evaluation, evaluate
from trainer.export import export_artifact
from trainer.holdout import Holdout
from trainer.measures import CORPUS_METRICS, REPLY_METRICS
from trainer.order import RunOrder
from trainer.safety_evaluation import select_safety_items
from trainer.score_table import METRICS, build_score_table

RATED = 40  # conversations, one rated reply in each
STAND_INS = RATED // 2  # liked replies, which are references beside few examples
RATERS = 4
RECIPE = build_recipe(reply_tokens=4, safety_items=5)


def build_rows() -> list[SnapshotRow]:
    """Held-out examples, two of one conversation, and ratings by which warm is liked and cold is not."""
    rows = []
    for number in range(5):
        item = build_row(number, f"Tell me of day {number}.", kind=RowKind.EXAMPLE, split=Split.HOLDOUT)
        row = replace(item.row, cluster=f"conversation:{number // 2}", created_at_s=100.0 + number)
        rows.append(replace(item, row=row))
    for number in range(RATED):
        is_up = number % 2 == 0
        context = f"Day {number}: I feel alone."
        item = build_row(
            100 + number,
            f"{WARM if is_up else COLD} {number}",
            Rating.UP if is_up else Rating.DOWN,
            context=context,
            split=Split.HOLDOUT,
        )
        rows.append(replace(item, row=replace(item.row, rater=f"rater-{number % RATERS}")))
    return rows


def shake(base: Artifact, folder: Path, seed: int) -> Artifact:
    """The base with other numbers in its top block."""
    model, tokenizer = load_model(base.folder)
    torch.manual_seed(seed)
    with torch.no_grad():
        for parameter in model.transformer.h[2].parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    export_artifact(model, tokenizer, folder, base_model="tiny")
    return load_artifact(folder)


@dataclass(frozen=True)
class Evaluated:
    order: RunOrder
    evaluation: Evaluation

    def read(self, name: str) -> pd.DataFrame:
        return pd.read_parquet(self.order.folder / f"{name}.parquet")


@pytest.fixture(scope="module")
def first(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """Against an anchor and a predecessor, with an empty cache."""
    folder = tmp_path_factory.mktemp("evaluation")
    base = load_artifact(base_folder)
    shake(base, folder / "artifact", 1)
    order = RunOrder(
        folder=folder,
        run_id="run-1",
        attempt=1,
        base=base,
        production=shake(base, folder / "production", 2),
        production_version=2,
        recipe=RECIPE,
        anchor=shake(base, folder / "anchor", 3),
        previous=base,
        holdout_cache=folder / "cache",
    )
    long = build_row(99, "Tell me.", context="day " * 2000, kind=RowKind.EXAMPLE, split=Split.HOLDOUT)
    return Evaluated(order, evaluate(order, [*build_rows(), long], None))


def test_leaves_out_what_is_too_long_for_the_model(first: Evaluated) -> None:
    assert (len(first.evaluation.holdout.references), first.evaluation.holdout.too_long) == (5 + STAND_INS, 1)


class TestScores:
    def test_has_every_metric_for_every_row_and_model(self, first: Evaluated) -> None:
        table = first.read("scores")
        counts = table.groupby("metric").size().to_dict()
        prompts = 4 + RATED  # two of the five examples ask the same
        of_rows = dict.fromkeys(("log_perplexity", *REPLY_METRICS), 5 + STAND_INS)
        of_conversations = dict.fromkeys(CORPUS_METRICS, 3 + STAND_INS)
        assert counts == of_rows | of_conversations | {"rating_score": RATED, "reward": prompts}
        assert counts.keys() == METRICS.keys()
        assert np.isfinite(table[["candidate", "production", "anchor", "weight"]].to_numpy(dtype=float)).all()
        asked = table[table["previous"].notna()]["metric"]
        assert set(asked) == {"log_perplexity", "reward"}
        assert not np.allclose(table["candidate"], table["anchor"])

    def test_names_who_rated_and_when_a_row_came(self, first: Evaluated) -> None:
        table = first.read("scores")
        rated = table[table["metric"] == "rating_score"]
        assert rated["is_up"].sum() == RATED / 2 and set(rated["rater"]) == {f"rater-{n}" for n in range(RATERS)}
        assert table[table["metric"] != "rating_score"]["is_up"].isna().all()
        corpus = table[table["metric"] == "corpus_bleu"].set_index("cluster")["created_at_s"].to_dict()
        of_examples = {cluster: corpus[cluster] for cluster in (f"conversation:{n}" for n in range(3))}
        assert of_examples == {"conversation:0": 101.0, "conversation:1": 103.0, "conversation:2": 104.0}

    def test_knows_how_long_the_references_are(self, first: Evaluated) -> None:
        table = first.read("scores")
        words = table[table["metric"] == "reply_words"]
        assert words["reference"].dropna().tolist() == [5.0] * 5 and len(words) == 5 + STAND_INS
        assert table[table["metric"] != "reply_words"]["reference"].isna().all()

    def test_a_served_reply_that_stands_in_sets_no_length(self) -> None:
        served = build_row(1, "Tell me more about it.", Rating.UP, split=Split.HOLDOUT).row
        table = build_score_table(Holdout([served], []), [], {"candidate": {"tokens": np.ones(1)}, "production": {}})
        assert table["reference"].isna().all()

    def test_knows_whose_a_reference_is(self) -> None:
        item = build_row(1, "Tell me more.", Rating.UP, split=Split.HOLDOUT).row
        rows = [
            replace(item, rater="ann"),
            replace(item, row_id="row:2", rater="reviewer:1", is_expert=True),
            replace(item, row_id="row:3", rater="bob", cluster="conversation:bob"),
            replace(item, row_id="row:4", rater="bob", cluster="conversation:bob"),
        ]
        readings = {"candidate": {"tokens": np.ones(4), "reward": np.ones(4)}, "production": {}}
        table = build_score_table(Holdout(rows, []), rows, readings)
        by_metric = {name: lines["rater"].fillna("").tolist() for name, lines in table.groupby("metric")}
        assert by_metric["log_perplexity"] == ["ann", "", "bob", "bob"]
        assert by_metric["distinct_2"] == ["", "bob"]  # one line for each conversation
        assert by_metric["reward"] == [""] * 4

    def test_rewards_are_chances(self, first: Evaluated) -> None:
        rewards = first.read("scores").query("metric == 'reward'")[["candidate", "production", "anchor", "previous"]]
        assert ((rewards >= 0) & (rewards <= 1)).all(axis=None)


class TestOtherTables:
    def test_the_head_tells_liked_from_disliked(self, first: Evaluated) -> None:
        head = json.loads((first.order.folder / "head.json").read_text())
        assert head["usable"] and head["auc_low"] > 0.9
        assert (head["ratings"], head["clusters"]) == (RATED, RATED)

    def test_leaves_each_rater_out_once(self, first: Evaluated) -> None:
        table = first.read("leave_one_out")
        assert table.groupby("rater").size().to_dict() == {f"rater-{n}": 4 + RATED for n in range(RATERS)}
        whole = first.read("scores").query("metric == 'reward'")
        one = table[table["rater"] == "rater-0"]
        assert one["row_id"].tolist() == whole["row_id"].tolist()
        assert not np.allclose(one["candidate"], whole["candidate"])

    def test_judges_every_model_on_the_same_safety_items(self, first: Evaluated) -> None:
        table = first.read("safety")
        assert table["item_id"].tolist() == [item.id for item in select_safety_items(5)]
        assert table[["candidate", "production", "anchor"]].isin(["ok", "mild", "severe"]).all(axis=None)
        assert sum(line["items"] for line in first.evaluation.facts["safety"]) == 5

    def test_puts_each_row_into_one_slice_of_each_kind(self, first: Evaluated) -> None:
        table = first.read("slices")
        kinds = table.assign(kind=table["slice"].str.split(":").str[0]).groupby(["row_id", "kind"]).size()
        assert len(kinds) == 4 * (5 + RATED) and (kinds == 1).all()


class TestCache:
    def test_asks_only_the_new_candidate_the_next_time(self, first: Evaluated, tmp_path: Path) -> None:
        assert first.evaluation.facts["answers_from_cache"] == 0
        shake(first.order.base, tmp_path / "artifact", 4)
        order = replace(first.order, folder=tmp_path)
        again = evaluate(order, build_rows(), None)
        # Five parts of production and of the anchor; the base, as predecessor, has no safety set.
        assert again.facts["answers_from_cache"] == 5 + 5 + 4
        columns = ["metric", "row_id", "production", "anchor", "previous"]
        pd.testing.assert_frame_equal(again.table[columns], first.evaluation.table[columns])
        assert not np.allclose(again.table["candidate"], first.evaluation.table["candidate"])

    def test_asks_again_what_depends_on_a_changed_recipe(self, first: Evaluated, tmp_path: Path) -> None:
        shake(first.order.base, tmp_path / "artifact", 1)
        recipe = replace(RECIPE, reply_tokens=3, samples_per_prompt=2)
        again = evaluate(replace(first.order, folder=tmp_path, recipe=recipe), build_rows(), None)
        assert again.facts["answers_from_cache"] == 4 * 2  # log-probabilities of given replies stay
        rewards = again.table.query("metric == 'reward'")
        assert len(rewards) == 4 + RATED and np.isfinite(rewards["candidate"]).all()

    def test_works_without_cache_anchor_or_ratings(self, first: Evaluated, tmp_path: Path) -> None:
        shake(first.order.base, tmp_path / "artifact", 1)
        order = replace(
            first.order, folder=tmp_path, anchor=None, previous=None, holdout_cache=None, production=first.order.base
        )
        found = evaluate(order, build_rows()[:8], None)
        assert not found.facts["head"]["usable"] and "a reward head takes 10 of each" in found.facts["head"]["reason"]
        assert set(found.table["metric"]) == METRICS.keys() - {"reward"}
        assert found.table[["anchor", "previous"]].isna().all(axis=None)
        assert not (tmp_path / "leave_one_out.parquet").exists()
        assert pd.read_parquet(tmp_path / "safety.parquet")["anchor"].isna().all()
