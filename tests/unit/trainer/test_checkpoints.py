"""Checkpoints are whole or ignored, belong to one run, and take no more room than they must."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError
from torch import nn

from trainer.checkpoints import (
    WEIGHTS,
    Checkpoint,
    Checkpoints,
    load_weights,
    open_checkpoints,
    save_weights,
)

IDENTITY = {"run_id": "run-1", "snapshot": "abc"}
FACTS = {"gradient_accumulation": 2}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder for the checkpoints of one run."""
    open_checkpoints(tmp_path / "checkpoints", IDENTITY)
    return tmp_path / "checkpoints"


def write(checkpoints: Checkpoints, stage: str, value: float) -> Path:
    """A folder with weights, ready to be sealed."""
    checkpoints.clear_staged(stage)
    written = checkpoints.locate_staged(stage) / "written"
    written.mkdir()
    model = nn.Linear(2, 2)
    nn.init.constant_(model.weight, value)
    save_weights(model, written / WEIGHTS)
    return written


def seal(folder: Path, step: int, stage: str = "supervised") -> Checkpoint:
    checkpoints = Checkpoints(folder)
    checkpoints.seal(write(checkpoints, stage, float(step)), stage, step, FACTS)
    found = checkpoints.find_last(stage)
    assert found is not None
    return found


class TestOpenCheckpoints:
    def test_keeps_those_of_the_same_run(self, folder: Path) -> None:
        seal(folder, 3)
        open_checkpoints(folder, dict(reversed(IDENTITY.items())))
        assert Checkpoints(folder).find_last("supervised") is not None

    @pytest.mark.parametrize("other", [{"run_id": "run-2"}, {"snapshot": "abd"}, {"recipe": {"seed": 1}}])
    def test_forgets_those_of_another_run_snapshot_or_recipe(self, folder: Path, other: dict[str, object]) -> None:
        seal(folder, 3)
        open_checkpoints(folder, IDENTITY | other)
        assert Checkpoints(folder).find_last("supervised") is None

    def test_nothing_counts_without_it(self, tmp_path: Path) -> None:
        checkpoints = Checkpoints(tmp_path / "checkpoints")
        checkpoints.seal(write(checkpoints, "supervised", 1.0), "supervised", 3, FACTS)
        assert checkpoints.find_last("supervised") is None


class TestSeal:
    def test_the_last_one_takes_the_place_of_the_one_before(self, folder: Path) -> None:
        seal(folder, 500)
        found = seal(folder, 1000)
        assert (found.step, found.facts) == (1000, FACTS)
        assert [path.name for path in folder.glob("supervised-*")] == ["supervised-0001000"]

    def test_keeps_stages_apart(self, folder: Path) -> None:
        seal(folder, 3)
        seal(folder, 7, stage="preference")
        assert [Checkpoints(folder).find_last(name).step for name in ("supervised", "preference")] == [3, 7]  # type: ignore[union-attr]


def truncate(folder: Path) -> None:
    content = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(content[: len(content) // 2])


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)


def remove_a_file(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def remove_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def tear_the_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"digest": "')


def add_a_file(folder: Path) -> None:
    (folder / "training_args.bin").write_bytes(b"a pickle")


TEARS = [truncate, flip_a_bit, remove_a_file, remove_the_manifest, tear_the_manifest, add_a_file]


class TestFindLast:
    @pytest.mark.parametrize("tear", TEARS)
    def test_ignores_a_torn_one(self, folder: Path, tear: Callable[[Path], None]) -> None:
        tear(seal(folder, 3).folder)
        assert Checkpoints(folder).find_last("supervised") is None

    def test_falls_back_to_the_one_before(self, folder: Path) -> None:
        older = seal(folder, 3)
        kept = older.folder.rename(folder / "aside")
        newer = seal(folder, 6)
        kept.rename(older.folder)  # as when a process is killed after the new one and before the old one goes
        truncate(newer.folder)
        assert Checkpoints(folder).find_last("supervised") == older

    def test_ignores_what_was_being_written(self, folder: Path) -> None:
        write(Checkpoints(folder), "supervised", 1.0)
        assert Checkpoints(folder).find_last("supervised") is None


class TestFinish:
    def test_leaves_the_end_of_the_stage_alone(self, folder: Path) -> None:
        checkpoints = Checkpoints(folder)
        seal(folder, 3)
        checkpoints.finish(write(checkpoints, "supervised", 9.0), "supervised", 4, {"steps": 4})
        done = checkpoints.find_done("supervised")
        assert done is not None
        assert (done.step, done.facts) == (4, {"steps": 4})
        assert sorted(path.name for path in folder.iterdir()) == ["identity.json", "supervised-done"]
        assert checkpoints.list_done() == {"supervised": {"steps": 4}}


class TestWeights:
    def test_holds_what_is_trained_and_nothing_else(self, tmp_path: Path) -> None:
        model, other = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)), nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
        model[0].requires_grad_(False)
        before = other[0].weight.detach().clone()
        save_weights(model, tmp_path / WEIGHTS)
        load_weights(other, tmp_path / WEIGHTS)
        assert torch.equal(other[1].weight, model[1].weight)
        assert torch.equal(other[0].weight, before)

    def test_refuses_those_of_another_model(self, tmp_path: Path) -> None:
        save_weights(nn.Linear(2, 2), tmp_path / WEIGHTS)
        with pytest.raises(SafetensorError, match="which the model does not have in this shape"):
            load_weights(nn.Linear(2, 3), tmp_path / WEIGHTS)
