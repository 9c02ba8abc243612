"""Scores through the trunk are the engine's, and only artifacts that share the trunk get them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from data.vocabulary import Rating
from serving.artifact import Artifact, load_artifact, seal_artifact
from serving.engines import EngineChoice
from tests.lessons import COLD, WARM, build_recipe, build_row, load_model
from trainer.answers import Answers, Respondent
from trainer.export import export_artifact
from trainer.holdout import Holdout
from trainer.progress import Progress
from trainer.scoring import TOLERANCE_NATS, KnownTrunk, digest_trunk, shares_trunk
from trainer.trunk import freeze_below
from trainer.trunk_cache import DiskStore, MemoryStore, RowStore, TrunkCacheOrder

BOUNDARY = 2  # of three blocks
LONG = WARM + " Tell me more about it, please." * 3
HOLDOUT = Holdout(
    references=[build_row(number, LONG).row for number in range(3)],
    rated=[build_row(10 + i, reply, Rating.UP).row for i, reply in enumerate((WARM, COLD, f"{LONG} Bye."))],
)


@pytest.fixture(scope="module")
def base(base_folder: Path) -> Artifact:
    return load_artifact(base_folder)


@pytest.fixture(scope="module")
def candidate(base: Artifact, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The base with another top block, as training makes it."""
    model, tokenizer = load_model(base.folder)
    freeze_below(model, "last:1")
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    folder = tmp_path_factory.mktemp("candidate") / "artifact"
    export_artifact(model, tokenizer, folder, base_model="tiny")
    return load_artifact(folder)


def answer(
    artifact: Artifact, trunk: KnownTrunk | None, compute_type: str = "float32", engine: EngineChoice = "auto"
) -> Answers:
    recipe = build_recipe(reply_tokens=4)
    progress = Progress("evaluating", 9)
    with Respondent(artifact, recipe, progress, compute_type=compute_type, engine=engine, trunk=trunk) as respondent:
        replies = respondent.reply([row.messages for row in HOLDOUT.references])
        scores = respondent.score([*HOLDOUT.references, *HOLDOUT.rated])
        return Answers(replies, scores[:3], scores[3:], respondent.is_scored_through_trunk)


def know_trunk(base: Artifact, store: RowStore | None = None) -> KnownTrunk:
    return KnownTrunk(base, BOUNDARY, store or MemoryStore())


def differ(left: Answers, right: Answers) -> float:
    pairs = [
        *zip(left.reference_log_probabilities, right.reference_log_probabilities, strict=True),
        *zip(left.rated_log_probabilities, right.rated_log_probabilities, strict=True),
    ]
    return max(float(np.abs(one - other).max()) for one, other in pairs)


class TestRespondent:
    def test_scores_through_the_trunk_as_the_engine_does(self, base: Artifact, candidate: Artifact) -> None:
        trunk = know_trunk(base)
        for artifact in (candidate, base):
            by_engine, by_trunk = answer(artifact, None), answer(artifact, trunk)
            assert by_trunk.is_scored_through_trunk and not by_engine.is_scored_through_trunk
            assert by_trunk.replies == by_engine.replies
            assert differ(by_trunk, by_engine) < TOLERANCE_NATS
        assert differ(answer(candidate, trunk), answer(base, trunk)) > 100 * TOLERANCE_NATS  # they are two models

    def test_computes_the_lower_blocks_once_for_all_artifacts_and_later_runs(
        self, base: Artifact, candidate: Artifact, tmp_path: Path
    ) -> None:
        misses = []
        for _ in range(2):
            store = DiskStore(TrunkCacheOrder(tmp_path, 10**7), base.digest, BOUNDARY, torch.float32)
            answer(candidate, know_trunk(base, store))
            answer(base, know_trunk(base, store))
            misses.append(store.misses)
            store.close()
        assert misses == [6, 0]

    def test_leaves_it_to_an_engine_that_serves_in_another_precision(self, base: Artifact) -> None:
        assert not answer(base, know_trunk(base), compute_type="int8").is_scored_through_trunk

    def test_leaves_it_to_the_engine_where_its_scores_are_others(
        self, candidate: Artifact, tmp_path: Path, base: Artifact, caplog: pytest.LogCaptureFixture
    ) -> None:
        folder = shutil.copytree(candidate.folder, tmp_path / "artifact")
        shutil.rmtree(folder / "ctranslate2")
        shutil.copytree(base.engine_folder, folder / "ctranslate2")  # serves the base under the candidate's weights
        (folder / "manifest.json").unlink()
        seal_artifact(folder, base_model="tiny")
        answers = answer(load_artifact(folder), know_trunk(base), engine="ctranslate2")
        assert not answers.is_scored_through_trunk
        assert "the engine scores" in caplog.text
        assert differ(answers, answer(base, None, engine="ctranslate2")) == 0.0


class TestSharesTrunk:
    def test_of_an_artifact_that_differs_in_its_top_only(self, base: Artifact, candidate: Artifact) -> None:
        assert shares_trunk(base, know_trunk(base))
        assert shares_trunk(candidate, know_trunk(base))
        assert not shares_trunk(candidate, KnownTrunk(base, 3, MemoryStore()))

    @pytest.mark.parametrize("name", ["transformer.h.0.attn.c_attn.weight", "transformer.wte.weight"])
    def test_not_of_one_with_a_single_other_number_below(self, candidate: Artifact, tmp_path: Path, name: str) -> None:
        folder = shutil.copytree(candidate.folder, tmp_path / "artifact")
        tensors = load_file(folder / "model.safetensors")
        tensors[name][0, 0] += 1e-6
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        assert digest_trunk(folder, BOUNDARY) != digest_trunk(candidate.folder, BOUNDARY)

    def test_not_of_one_with_another_configuration(self, base: Artifact, candidate: Artifact, tmp_path: Path) -> None:
        folder = shutil.copytree(candidate.folder, tmp_path / "artifact")
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"layer_norm_epsilon": 0.1}))
        assert not shares_trunk(Artifact(folder, "other", {}), know_trunk(base))
