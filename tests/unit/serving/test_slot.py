"""A swap replaces the version whole, or leaves the old one answering."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import PreTrainedModel

from serving.engine import Sampling
from serving.errors import ModelNotReady, SwapFailed
from serving.handle import ModelHandle, load_handle
from serving.slot import ModelSlot
from trainer.base import load_base
from trainer.export import export_artifact


@pytest.fixture
def slot(artifact_folders: tuple[Path, Path]) -> ModelSlot:
    """A slot with version 1."""
    slot = ModelSlot()
    slot.swap(artifact_folders[0], 1)
    return slot


def flip_a_byte(artifact: Path) -> None:
    file = artifact / "ctranslate2" / "model.bin"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def remove_a_file(artifact: Path) -> None:
    (artifact / "tokenizer.json").unlink()


def remove_everything(artifact: Path) -> None:
    shutil.rmtree(artifact)


def export_changed(base: Path, folder: Path, change: Callable[[PreTrainedModel], None]) -> Path:
    """An artifact that is whole, of a model that is not well."""
    model, tokenizer = load_base(str(base))
    with torch.no_grad():
        change(model)
    export_artifact(model, tokenizer, folder)
    return folder


class TestLease:
    def test_refuses_before_the_first_swap(self) -> None:
        slot = ModelSlot()
        assert slot.current is None
        with pytest.raises(ModelNotReady), slot.lease():
            pass

    def test_pins_the_version_over_a_swap(self, slot: ModelSlot, artifact_folders: tuple[Path, Path]) -> None:
        with slot.lease() as old:
            slot.swap(artifact_folders[1], 2)
            assert slot.current is not None
            assert (old.version, slot.current.version) == (1, 2)
            assert old.engine.generate([["a"]], Sampling(max_tokens=2))
            assert not old.closed.is_set()
        assert old.closed.is_set()

    def test_gives_the_lease_back_after_an_error(self, slot: ModelSlot) -> None:
        with pytest.raises(KeyError), slot.lease() as handle:
            raise KeyError
        assert handle.leases == 0


class TestSwap:
    def test_reports_what_took_over(self, slot: ModelSlot, artifact_folders: tuple[Path, Path]) -> None:
        report = slot.swap(artifact_folders[1], 2)
        assert slot.current is not None
        assert (report.version, report.digest) == (2, slot.current.digest)
        assert report.load_s > 0
        assert report.check_s > 0

    @pytest.mark.parametrize("damage", [flip_a_byte, remove_a_file, remove_everything])
    def test_a_broken_artifact_leaves_the_old_version_answering(
        self,
        slot: ModelSlot,
        artifact_folders: tuple[Path, Path],
        tmp_path: Path,
        damage: Callable[[Path], None],
    ) -> None:
        copy = shutil.copytree(artifact_folders[1], tmp_path / "copy")
        damage(copy)
        old = slot.current
        with pytest.raises(SwapFailed, match="Version 2"):
            slot.swap(copy, 2)
        assert slot.current is old
        with slot.lease() as handle:
            assert handle.engine.generate([["a"]], Sampling(max_tokens=2))[0].token_ids

    @pytest.mark.parametrize(
        "fault", [ImportError("libtbb.so"), KeyError("eos"), TypeError("list"), AttributeError("x")]
    )
    def test_whatever_a_load_raises_is_a_failed_swap(
        self, slot: ModelSlot, artifact_folders: tuple[Path, Path], fault: Exception
    ) -> None:
        def load(folder: Path, version: int, compute_type: str, threads: int) -> ModelHandle:
            if version == 2:
                raise fault
            return load_handle(folder, version, compute_type, threads)

        slot = ModelSlot(load=load)
        slot.swap(artifact_folders[0], 1)
        with pytest.raises(SwapFailed, match="Version 2 could not take over"):
            slot.swap(artifact_folders[1], 2)
        assert slot.current is not None
        assert slot.current.version == 1
        slot.close()

    def test_refuses_a_compute_type_that_does_not_exist(self, artifact_folders: tuple[Path, Path]) -> None:
        slot = ModelSlot(compute_type="float3")
        with pytest.raises(SwapFailed, match="float3"):
            slot.swap(artifact_folders[0], 1)
        assert slot.current is None

    def test_refuses_scores_that_are_not_numbers(
        self, slot: ModelSlot, base_folders: tuple[Path, Path], tmp_path: Path
    ) -> None:
        def break_numbers(model: PreTrainedModel) -> None:
            model.get_parameter("transformer.ln_f.weight").fill_(math.nan)

        folder = export_changed(base_folders[0], tmp_path / "nan", break_numbers)
        with pytest.raises(SwapFailed, match="finite"):
            slot.swap(folder, 2)
        assert slot.current is not None
        assert slot.current.version == 1

    def test_refuses_a_model_that_only_ends(
        self, slot: ModelSlot, base_folders: tuple[Path, Path], tmp_path: Path
    ) -> None:
        def always_end(model: PreTrainedModel) -> None:
            model.get_parameter("transformer.ln_f.weight").fill_(0.0)
            embedding = model.get_parameter("transformer.wte.weight")
            model.get_parameter("transformer.ln_f.bias").copy_(embedding[0])

        folder = export_changed(base_folders[0], tmp_path / "mute", always_end)
        with pytest.raises(SwapFailed, match="empty"):
            slot.swap(folder, 2)


class TestClose:
    def test_unloads_the_current_version(self, slot: ModelSlot) -> None:
        handle = slot.current
        assert handle is not None
        slot.close()
        slot.close()
        assert handle.closed.is_set()
        assert slot.current is None
