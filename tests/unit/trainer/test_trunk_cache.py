"""Rows on disk come back bit by bit, in this run and in later ones, and nothing torn or foreign ever does."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from data.trunk_index import find_trunk_index
from tests.lessons import build_pair_rows, build_rated_rows, build_recipe, load_model, read_losses
from trainer.dpo import train_dpo
from trainer.kto import train_kto
from trainer.rows import ROW_IDS
from trainer.supervised import train_supervised
from trainer.trunk import freeze_below, install_trunk
from trainer.trunk_cache import DiskStore, MemoryStore, RowStore, TrunkCacheOrder, open_store, pack_tokens

TEXT, OTHER = pack_tokens([5, 6, 7]), pack_tokens([5, 6, 8, 9])
ROW, OTHER_ROW = torch.randn(3, 4), torch.randn(4, 4)


def open_disk(folder: Path, *, base: str = "base", boundary: int = 2, limit_bytes: int = 10**6) -> DiskStore:
    return DiskStore(TrunkCacheOrder(folder, limit_bytes), base, boundary, torch.float32)


def read_later(folder: Path, owners: Iterable[str] = ("feedback:1",), **named: object) -> torch.Tensor | None:
    """What a later run finds for TEXT."""
    store = open_disk(folder, **named)  # type: ignore[arg-type]
    store.note({TEXT: owners})
    row = store.find(TEXT)
    store.close()
    return row


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A cache that an earlier run left, with TEXT and OTHER in it."""
    store = open_disk(tmp_path)
    store.note({TEXT: {"feedback:1"}, OTHER: {"feedback:2"}})
    store.keep({TEXT: ROW, OTHER: OTHER_ROW})
    store.close()
    return tmp_path


def find_file(folder: Path, n_bytes: int) -> Path:
    (path,) = (path for path in (folder / "rows").glob("*/*") if path.stat().st_size == n_bytes)
    return path


class TestDiskStore:
    def test_gives_back_the_same_numbers_in_a_later_run(self, folder: Path) -> None:
        store = open_disk(folder)
        store.note({TEXT: {"feedback:1"}, OTHER: {"feedback:2"}})
        found, other = store.find(TEXT), store.find(OTHER)
        assert found is not None and torch.equal(found, ROW)
        assert other is not None and torch.equal(other, OTHER_ROW)
        assert store.summarise() == {"hits": 2, "misses": 0, "rows": 2, "bytes": ROW.nbytes + OTHER_ROW.nbytes}
        store.close()

    @pytest.mark.parametrize("change", [{"base": "another"}, {"boundary": 3}])
    def test_tells_bases_and_boundaries_apart(self, folder: Path, change: dict[str, object]) -> None:
        assert read_later(folder) is not None
        assert read_later(folder, **change) is None

    def test_ignores_and_removes_a_torn_file(self, folder: Path) -> None:
        path = find_file(folder, ROW.nbytes)
        path.write_bytes(path.read_bytes()[:-4])
        assert read_later(folder) is None
        assert not path.exists()

    def test_ignores_and_removes_a_foreign_file(self, folder: Path) -> None:
        path = find_file(folder, ROW.nbytes)
        path.write_bytes(bytes(ROW.nbytes))
        assert read_later(folder) is None
        assert not path.exists()

    @pytest.mark.parametrize("is_empty", [True, False])
    def test_computes_again_what_is_empty_or_gone(self, folder: Path, is_empty: bool) -> None:
        path = find_file(folder, ROW.nbytes)
        path.unlink()
        if is_empty:
            path.touch()
        store = open_disk(folder)
        store.note({TEXT: {"feedback:1"}})
        assert store.find(TEXT) is None
        store.keep({TEXT: ROW})
        found = store.find(TEXT)
        assert found is not None and torch.equal(found, ROW)
        store.close()

    def test_remembers_a_text_without_owner_in_memory_only(self, tmp_path: Path) -> None:
        store = open_disk(tmp_path)
        store.note({OTHER: set()})
        store.keep({TEXT: ROW, OTHER: OTHER_ROW})
        assert store.find(TEXT) is not None
        assert store.measure() == (0, 0)
        store.close()
        assert read_later(tmp_path) is None

    def test_serves_two_runs_at_once(self, folder: Path) -> None:
        first, second = open_disk(folder), open_disk(folder)
        fresh = pack_tokens([1, 2])
        for store in (first, second):
            store.note({TEXT: {"feedback:1"}, fresh: {"feedback:3"}})
        first.keep({fresh: torch.ones(2, 4)})
        second.keep({fresh: torch.ones(2, 4)})
        for store in (first, second):
            assert store.find(TEXT) is not None
            assert store.find(fresh) is not None
            store.close()
        assert read_later(folder) is not None

    def test_goes_on_without_a_disk_that_refuses(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        store = open_disk(tmp_path)
        store.note({TEXT: {"feedback:1"}, OTHER: {"feedback:2"}})
        (tmp_path / "rows").write_text("no folder")
        with caplog.at_level(logging.WARNING):
            store.keep({TEXT: ROW})
        assert "disk refuses" in caplog.text
        (tmp_path / "rows").unlink()
        store.keep({OTHER: OTHER_ROW})
        assert store.find(OTHER) is None
        assert store.measure() == (0, 0)
        store.close()

    def test_stays_within_its_bound(self, tmp_path: Path) -> None:
        store = open_disk(tmp_path, limit_bytes=ROW.nbytes + 1)
        store.note({TEXT: {"feedback:1"}, OTHER: {"feedback:2"}})
        store.keep({TEXT: ROW, OTHER: OTHER_ROW})
        assert store.find(OTHER) is None
        assert store.measure() == (1, ROW.nbytes)
        store.close()


class TestMemoryStore:
    def test_keeps_what_comes_first_within_its_bound(self) -> None:
        store = MemoryStore(limit_bytes=ROW.nbytes)
        store.note({TEXT: {"feedback:1"}})
        store.keep({TEXT: ROW, OTHER: OTHER_ROW})
        found = store.find(TEXT)
        assert found is not None and torch.equal(found, ROW)
        assert store.find(OTHER) is None
        assert store.summarise() == {"hits": 1, "misses": 1, "rows": 1, "bytes": ROW.nbytes}
        store.close()


class TestOpenStore:
    def test_is_in_memory_unless_disk_is_allowed(self, tmp_path: Path) -> None:
        kinds = [open_store(None, "base", 1, torch.float32)]
        kinds.append(open_store(TrunkCacheOrder(tmp_path / "none", 0), "base", 1, torch.float32))
        assert all(isinstance(store, MemoryStore) for store in kinds)
        assert not (tmp_path / "none").exists()
        store = open_store(TrunkCacheOrder(tmp_path / "cache", 1), "base", 1, torch.float32)
        assert isinstance(store, DiskStore)
        store.close()

    def test_is_in_memory_where_the_folder_cannot_be_made(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / "file").touch()
        store = open_store(TrunkCacheOrder(tmp_path / "file" / "cache", 1), "base", 1, torch.float32)
        assert isinstance(store, MemoryStore)
        assert "goes on without it" in caplog.text


RECIPE = build_recipe(sft_epochs=2)


def train_everything(base: Path, folder: Path, store: RowStore | None) -> list[float]:
    """SFT with a dev evaluation, KTO and DPO, each with its reference pass; the losses of all steps."""
    model, tokenizer = load_model(base)
    boundary = freeze_below(model, "last:1")
    if store is not None:
        install_trunk(model, boundary, store)
    rated = build_rated_rows(tokenizer)
    pairs = [{**row, ROW_IDS: [f"feedback:{i}", f"feedback:{i + 90}"]} for i, row in enumerate(build_pair_rows())]
    (folder / "runs").mkdir(parents=True)
    train_supervised(model, tokenizer, rated[:6], rated[6:], RECIPE, folder / "runs")
    train_kto(model, tokenizer, rated, RECIPE, folder / "runs")
    train_dpo(model, tokenizer, pairs, RECIPE, folder / "runs")
    return read_losses(folder / "runs")


@dataclass(frozen=True)
class Trainings:
    """Losses without any trunk, with an empty cache and with a full one, and what the two runs asked for."""

    uncached: list[float]
    cold: list[float]
    warm: list[float]
    cold_summary: dict[str, int]
    warm_summary: dict[str, int]
    cache: Path


@pytest.fixture(scope="module")
def trainings(base_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Trainings:
    """The same training three times."""
    folder = tmp_path_factory.mktemp("trainings")
    uncached = train_everything(base_folder, folder / "uncached", None)
    losses, summaries = [], []
    for name in ("cold", "warm"):
        store = open_disk(folder / "cache", base="tiny")
        losses.append(train_everything(base_folder, folder / name, store))
        summaries.append(store.summarise())
        store.close()
    return Trainings(uncached, *losses, *summaries, folder / "cache")


class TestExactness:
    def test_losses_are_the_uncached_ones(self, trainings: Trainings) -> None:
        assert len(trainings.uncached) == 8
        assert trainings.cold == pytest.approx(trainings.uncached, abs=1e-5)
        assert trainings.warm == pytest.approx(trainings.uncached, abs=1e-5)

    def test_a_second_run_computes_nothing(self, trainings: Trainings) -> None:
        assert 0 < trainings.cold_summary["misses"] < trainings.cold_summary["hits"]
        assert trainings.warm_summary["misses"] == 0 < trainings.warm_summary["hits"]
        assert trainings.warm_summary["rows"] == trainings.cold_summary["rows"] == trainings.cold_summary["misses"]

    def test_every_kept_text_goes_with_its_owners(self, trainings: Trainings, tmp_path: Path) -> None:
        index = find_trunk_index(shutil.copytree(trainings.cache, tmp_path / "cache"))
        assert index is not None
        owners = index.list_owners()
        assert owners == {f"feedback:{number}" for number in (*range(8), *range(90, 98))}
        assert index.forget(owners)
        assert index.measure() == (0, 0)
        index.close()
