"""Each method runs its stages on what it needs, and says in a sentence what is missing."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from data.curation import CurationResult
from data.errors import RatchetError
from data.preferences import EXPERT_COPIES
from data.snapshot import save_snapshot
from data.splitting import DEFAULT_SALT
from data.vocabulary import Method, Rating, RowKind, SnapshotRow, Split
from tests.lessons import COLD, WARM, build_recipe, build_row, build_snapshot, load_model
from tests.orders import write_order
from trainer.errors import TrainingFailed
from trainer.lora import ADAPTER_FOLDER
from trainer.reward import REWARD_FOLDER
from trainer.run import run
from trainer.stages import Training, TrainingSets, build_sets, list_stages, run_stages
from trainer.trunk import freeze_below, install_trunk


def build_for(base_folder: Path, rows: list[SnapshotRow], **recipe: Any) -> TrainingSets:
    _, tokenizer = load_model(base_folder)
    return build_sets(rows, tokenizer, build_recipe(**recipe), Counter())


def train(base_folder: Path, folder: Path, rows: list[SnapshotRow], **fields: Any) -> dict[str, Any]:
    model, tokenizer = load_model(base_folder)
    recipe = build_recipe(**fields)
    sets = build_sets(rows, tokenizer, recipe, Counter())
    install_trunk(model, freeze_below(model, recipe.trainable))
    return run_stages(
        Training(model=model, tokenizer=tokenizer, base=base_folder, sets=sets, recipe=recipe, folder=folder)
    )


def read_phases(folder: Path) -> list[str]:
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return list(dict.fromkeys(record["phase"] for record in records))


class TestBuildSets:
    @pytest.mark.parametrize(
        ("method", "counts"),
        [
            ("sft", {"supervised": 12, "rated": 0, "pairs": 0, "dev": 2, "dev_pairs": 0}),
            ("kto", {"supervised": 12, "rated": 12, "pairs": 0, "dev": 2, "dev_pairs": 0}),
            ("dpo", {"supervised": 12, "rated": 0, "pairs": 6, "dev": 2, "dev_pairs": 0}),
            ("reward", {"supervised": 12, "rated": 0, "pairs": 6, "dev": 2, "dev_pairs": 1}),
            ("auto", {"supervised": 12, "rated": 12, "pairs": 0, "dev": 2, "dev_pairs": 0}),
        ],
    )
    def test_builds_what_the_method_uses(self, base_folder: Path, method: str, counts: dict[str, int]) -> None:
        sets = build_for(base_folder, build_snapshot(), method=method)
        assert sets.count() == counts | {"augmented": 0}
        assert sets.choice.method == ("kto" if method == "auto" else method)
        assert len(sets.prompts) == (6 if method == "reward" else 0)

    def test_repeats_what_an_expert_prefers(self, base_folder: Path) -> None:
        rows = [build_row(1, WARM, Rating.UP), build_row(1, COLD, Rating.DOWN)]
        assert len(build_for(base_folder, rows, method="dpo").pairs) == 1
        expert = [build_row(1, WARM, Rating.UP, is_expert=True), build_row(1, COLD, Rating.DOWN)]
        assert len(build_for(base_folder, expert, method="dpo").pairs) == EXPERT_COPIES

    def test_replays_the_share_that_is_asked_for(self, base_folder: Path) -> None:
        sets = build_for(base_folder, build_snapshot(), method="sft", replay_share=0.0)
        assert {row["row_ids"][0].split(":")[0] for row in sets.supervised} == {"feedback"}


class TestListStages:
    @pytest.mark.parametrize("method", [Method.KTO, Method.DPO, Method.REWARD])
    def test_anchors_a_preference_stage_by_fine_tuning_first(self, method: Method) -> None:
        assert list_stages(method, build_recipe())[0][0] == "supervised"
        assert len(list_stages(method, build_recipe())) == 2
        assert len(list_stages(method, build_recipe(sft_epochs=0))) == 1

    def test_fine_tunes_alone(self) -> None:
        assert [name for name, _ in list_stages(Method.SFT, build_recipe())] == ["supervised"]


class TestRunStages:
    @pytest.mark.parametrize(
        ("method", "phases"),
        [("sft", ["supervised"]), ("kto", ["supervised", "preference"]), ("dpo", ["supervised", "preference"])],
    )
    def test_runs_them_in_order(self, base_folder: Path, tmp_path: Path, method: str, phases: list[str]) -> None:
        assert train(base_folder, tmp_path, build_snapshot(), method=method) == {}
        assert read_phases(tmp_path) == phases

    def test_tells_how_good_the_reward_model_is(self, base_folder: Path, tmp_path: Path) -> None:
        told = train(base_folder, tmp_path, build_snapshot(), method="reward", sft_epochs=0, reward_epochs=3)["reward"]
        assert (told["dev_pairs"], told["dev_accuracy"], told["train_accuracy"]) == (1, 1.0, 1.0)
        assert (told["policy"], told["prompts"]) == ("best_of_n", 6)
        assert read_phases(tmp_path) == ["reward", "policy"]
        assert (tmp_path / REWARD_FOLDER / "model.safetensors").exists()

    @pytest.mark.parametrize(
        ("fields", "sentence"),
        [
            ({"method": "sft"}, "nothing to imitate that fits into max_tokens = 16"),
            ({"method": "kto", "sft_epochs": 0}, "needs ratings of both kinds, and 0 up and 0 down fit"),
            ({"method": "dpo", "sft_epochs": 0}, "needs pairs .* none fits into max_tokens = 16"),
            ({"method": "reward", "sft_epochs": 0}, "No prompt leaves room for a reply"),
        ],
    )
    def test_refuses_a_set_of_which_nothing_fits(
        self, base_folder: Path, tmp_path: Path, fields: dict[str, Any], sentence: str
    ) -> None:
        with pytest.raises(TrainingFailed, match=sentence):
            train(base_folder, tmp_path, build_snapshot(), max_tokens=16, **fields)

    def test_refuses_a_method_without_its_rows(self, base_folder: Path, tmp_path: Path) -> None:
        examples = [build_row(number, WARM, kind=RowKind.EXAMPLE) for number in range(4)]
        with pytest.raises(TrainingFailed, match="DPO needs pairs"):
            train(base_folder, tmp_path, examples, method="dpo", sft_epochs=0)


def write_run(folder: Path, base_folder: Path, rows: list[SnapshotRow], **fields: Any) -> Path:
    write_order(folder, base_folder, **build_recipe(**fields).to_dict())
    shutil.rmtree(folder / "snapshot")
    save_snapshot(folder / "snapshot", CurationResult(tuple(rows), {}), len(rows), DEFAULT_SALT)
    return folder


def read_report(folder: Path) -> dict[str, Any]:
    report: dict[str, Any] = json.loads((folder / "report.json").read_text())
    return report


class TestRun:
    @pytest.mark.parametrize("fields", [{"method": "dpo"}, {"method": "reward", "trainable": "lora:2"}])
    def test_the_same_snapshot_and_recipe_give_the_same_digest(
        self, base_folder: Path, tmp_path: Path, fields: dict[str, Any]
    ) -> None:
        digests = []
        for name in ("one", "two"):
            folder = write_run(tmp_path / name, base_folder, build_snapshot(), **fields)
            run(folder)
            digests.append(read_report(folder)["digest"])
        assert digests[0] == digests[1]
        manifest = json.loads((tmp_path / "two" / "artifact" / "manifest.json").read_text())
        assert any(name.startswith(f"{ADAPTER_FOLDER}/") for name in manifest["files"]) == ("trainable" in fields)

    def test_reports_method_reason_and_distance_from_the_base(self, base_folder: Path, tmp_path: Path) -> None:
        rows = [item for item in build_snapshot(12) if item.split is not Split.DEV]  # then hold-out prompts are asked
        folder = write_run(tmp_path, base_folder, rows, method="auto", sft_learning_rate=1e-2, reply_tokens=24)
        run(folder)
        report = read_report(folder)
        assert report["method"] == "kto"
        assert report["method_reason"].startswith("10 replies are rated up and 10 down, enough for KTO")
        assert report["kl_to_base"]["nats_per_token"] > 0
        assert report["kl_to_base"]["replies"] == 1
        page = (folder / "report.html").read_text()
        assert report["method_reason"] in page
        assert "nats for each reply token" in page

    def test_a_failed_run_says_why(self, base_folder: Path, tmp_path: Path) -> None:
        folder = write_run(tmp_path, base_folder, build_snapshot(), method="dpo", max_tokens=16)
        with pytest.raises(RatchetError, match="nothing to imitate that fits"):
            run(folder)
