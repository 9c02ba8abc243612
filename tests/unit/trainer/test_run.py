"""What must hold of a run: recorded losses, an untouched reference, the same digest again, an artifact that serves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import pipeline

from data.errors import InvalidRecipe
from data.vocabulary import Message
from serving.artifact import load_artifact
from serving.engine import CTranslate2Engine, Sampling
from serving.prompt import PromptRenderer
from tests.lessons import CONTEXTS, build_rated_rows, build_recipe, load_model, read_losses
from tests.orders import TWO_STAGES, write_order
from trainer.kto import train_kto
from trainer.run import run
from trainer.supervised import train_supervised
from trainer.trunk import freeze_below, install_trunk
from worker.errors import TrainerFailed, TrainerKilled
from worker.trainer_process import TrainerProcess

# Nats, of three steps of four rows each. Processors round differently: 5e-4 lets that pass, and no change of the data,
# the order, the loss, the schedule or the frozen blocks.
SUPERVISED_LOSSES = [6.378416, 6.292953, 6.242441]
KTO_LOSSES = [0.5, 0.5, 0.442834]
TOLERANCE = 5e-4
TOKENS = 12


class TestLosses:
    def test_fine_tuning_gives_the_recorded_ones(self, base_folder: Path, tmp_path: Path) -> None:
        model, tokenizer = load_model(base_folder)
        recipe = build_recipe()
        install_trunk(model, freeze_below(model, recipe.trainable))
        rows = [{key: row[key] for key in ("prompt", "completion")} for row in build_rated_rows(tokenizer, 12)]
        train_supervised(model, tokenizer, rows, [], recipe, tmp_path)
        assert read_losses(tmp_path) == pytest.approx(SUPERVISED_LOSSES, abs=TOLERANCE)

    def test_kto_gives_the_recorded_ones(self, base_folder: Path, tmp_path: Path) -> None:
        model, tokenizer = load_model(base_folder)
        recipe = build_recipe()
        install_trunk(model, freeze_below(model, recipe.trainable))
        train_kto(model, tokenizer, build_rated_rows(tokenizer, 12), recipe, tmp_path)
        assert read_losses(tmp_path) == pytest.approx(KTO_LOSSES, abs=TOLERANCE)


class TestWeights:
    def test_only_the_top_block_and_the_final_norm_change(self, base_folder: Path, finished_run: Path) -> None:
        base, trained = (load_file(folder / "model.safetensors") for folder in (base_folder, finished_run / "artifact"))
        changed = {name for name, value in trained.items() if not torch.equal(value, base[name])}
        assert changed
        assert all(".h.2." in name or "ln_f" in name for name in changed)

    def test_the_base_stays_as_it_is(self, base_folder: Path, finished_run: Path) -> None:
        assert load_artifact(base_folder, verify=True).digest
        assert json.loads((finished_run / "artifact" / "manifest.json").read_text())["base_digest"]

    def test_the_same_snapshot_gives_the_same_digest(
        self, base_folder: Path, finished_run: Path, tmp_path: Path
    ) -> None:
        folder = write_order(tmp_path, base_folder, **TWO_STAGES)
        order = json.loads((folder / "run.json").read_text())
        (folder / "run.json").write_text(json.dumps(order | {"run_id": "run-2", "attempt": 3}))
        run(folder)
        first, second = (json.loads((path / "report.json").read_text()) for path in (finished_run, folder))
        assert second["snapshot_digest"] == first["snapshot_digest"]
        assert second["digest"] == first["digest"]


class TestArtifact:
    def test_the_pipeline_answers_with_the_tokens_of_the_engine(self, finished_run: Path) -> None:
        artifact = load_artifact(finished_run / "artifact")
        renderer = PromptRenderer(artifact)
        chats = [[Message(role="user", content=context)] for context in CONTEXTS]
        prompts = [renderer.render(chat) for chat in chats]
        engine = CTranslate2Engine(artifact.engine_folder, compute_type="float32", intra_threads=1, inter_threads=1)
        served = engine.generate(prompts, Sampling(max_tokens=TOKENS, temperature=0.0))
        engine.close()
        generate = pipeline("text-generation", str(artifact.folder), device="cpu", dtype=torch.float32)
        for chat, prompt, generation in zip(chats, prompts, served, strict=True):
            options = {"do_sample": False, "max_new_tokens": TOKENS, "return_tensors": True}
            (answer,) = generate([dict(turn) for turn in chat], **options)
            assert answer["generated_token_ids"][len(prompt) :][: len(generation.token_ids)] == generation.token_ids
            assert len(generation.token_ids) > 0


class TestRefusal:
    @pytest.mark.parametrize("field", [{"max_tokens": 257}, {"reply_tokens": 129}])
    def test_a_recipe_beyond_the_window_of_the_base_trains_nothing(
        self, base_folder: Path, tmp_path: Path, field: dict[str, int]
    ) -> None:
        folder = write_order(tmp_path, base_folder, **field)
        with pytest.raises(InvalidRecipe, match=f"{next(iter(field))} is .* set it to at most"):
            run(folder)
        assert sorted(path.name for path in folder.iterdir()) == ["run.json", "snapshot"]

    def test_fails_the_run_without_another_attempt(self, base_folder: Path, tmp_path: Path) -> None:
        folder = write_order(tmp_path, base_folder, max_tokens=2048)
        with TrainerProcess(folder) as trainer, pytest.raises(TrainerFailed, match="max_tokens is 2048") as caught:
            list(trainer.events())
        assert not isinstance(caught.value, TrainerKilled)  # which is worth another


class TestReport:
    def test_tells_precision_stages_and_pace(self, finished_run: Path) -> None:
        report = json.loads((finished_run / "report.json").read_text())
        assert report["precision"] == {"wanted": "float32", "used": "float32"}
        assert report["stages"].keys() == {"supervised", "preference"}
        for facts in report["stages"].values():
            assert facts["steps"] == facts["of"] > 0
            assert (facts["micro_batch"], facts["gradient_accumulation"]) == (4, 1)
        records = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
        assert all(record["tokens_per_s"] > 0 and record["eta_s"] >= 0 for record in records if "loss" in record)
