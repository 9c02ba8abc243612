"""Following the production pointer."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.exc import OperationalError

from api.metrics import Metrics
from api.watch import ProductionWatch
from db.promotions import promote, rollback
from db.session import Database
from db.swaps import list_swaps
from serving.artifact_store import UrlStore
from serving.handle import ModelHandle, load_handle
from serving.slot import ModelSlot
from settings import Settings
from tests.processes import await_value
from tests.unit.api.live import Artifacts, add_base_version, add_first_version


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """With nothing registered."""
    database = Database(settings.database)
    yield database
    database.dispose()


@pytest.fixture
def slot() -> Iterator[ModelSlot]:
    slot = ModelSlot()
    yield slot
    slot.close()


@pytest.fixture
def watch(database: Database, slot: ModelSlot, artifacts: Artifacts) -> ProductionWatch:
    return ProductionWatch(database, slot, artifacts.root, 0.01, Metrics())


def promote_first(database: Database) -> None:
    with database.transaction() as session:
        promote(session, 1, "manual", "Better.", "ann")


def list_outcomes(database: Database) -> list[tuple[int, bool]]:
    """The swaps recorded, oldest first."""
    with database.reading() as session:
        return [(swap.version_number, swap.succeeded) for swap in reversed(list_swaps(session))]


def served(slot: ModelSlot) -> int | None:
    return slot.current.version if slot.current else None


def copy_and_promote_first(database: Database, artifacts: Artifacts, folder: Path) -> Path:
    """The root of a copy of the artifacts that a test may break; version 1 is in production."""
    add_base_version(database, artifacts)
    add_first_version(database, artifacts)
    promote_first(database)
    return Path(shutil.copytree(artifacts.root, folder / "artifacts"))


class TestLook:
    def test_waits_for_the_first_version(self, database: Database, slot: ModelSlot, watch: ProductionWatch) -> None:
        watch.look()
        assert served(slot) is None

    def test_swaps_when_the_pointer_moved_and_only_then(
        self, database: Database, slot: ModelSlot, watch: ProductionWatch, artifacts: Artifacts
    ) -> None:
        add_base_version(database, artifacts)
        add_first_version(database, artifacts)
        watch.look()
        watch.look()
        assert served(slot) == 0
        promote_first(database)
        watch.look()
        assert served(slot) == 1
        assert list_outcomes(database) == [(0, True), (1, True)]

    def test_does_not_load_again_what_is_served(
        self, database: Database, slot: ModelSlot, watch: ProductionWatch, artifacts: Artifacts
    ) -> None:
        add_base_version(database, artifacts)
        add_first_version(database, artifacts)
        watch.look()
        promote_first(database)
        with database.transaction() as session:
            rollback(session, "ann", "Worse.")
        watch.look()
        assert list_outcomes(database) == [(0, True)]

    def test_keeps_the_old_version_and_tries_a_broken_one_once(
        self, database: Database, slot: ModelSlot, watch: ProductionWatch, artifacts: Artifacts
    ) -> None:
        add_base_version(database, artifacts)
        add_first_version(database, artifacts, folder="gone")
        watch.look()
        promote_first(database)
        watch.look()
        watch.look()
        assert served(slot) == 0
        assert list_outcomes(database) == [(0, True), (1, False)]

    def test_refuses_a_folder_with_another_artifact(
        self, database: Database, slot: ModelSlot, watch: ProductionWatch, artifacts: Artifacts
    ) -> None:
        add_base_version(database, artifacts)
        add_first_version(database, artifacts, folder=artifacts.folders[0])
        watch.look()
        promote_first(database)
        watch.look()
        assert served(slot) == 0
        assert list_outcomes(database)[-1] == (1, False)

    def test_starts_with_the_version_before_when_production_is_broken(
        self, database: Database, slot: ModelSlot, watch: ProductionWatch, artifacts: Artifacts
    ) -> None:
        add_base_version(database, artifacts)
        add_first_version(database, artifacts, folder="gone")
        promote_first(database)
        watch.look()
        assert served(slot) == 0
        assert list_outcomes(database) == [(1, False), (0, True)]

    def test_takes_whichever_is_mended_first_when_none_loads(
        self, database: Database, slot: ModelSlot, artifacts: Artifacts, tmp_path: Path
    ) -> None:
        root = copy_and_promote_first(database, artifacts, tmp_path)
        manifests = [root / folder / "manifest.json" for folder in artifacts.folders]
        sound = [manifest.read_bytes() for manifest in manifests]
        for manifest in manifests:
            manifest.write_bytes(b"{}")
        metrics = Metrics()
        watch = ProductionWatch(database, slot, root, 0.01, metrics)
        for _ in range(3):
            watch.look()
        assert (served(slot), watch.production, watch.is_fallback) == (None, 1, True)
        assert b"ratchet_fallback 1.0" in metrics.render()
        assert list_outcomes(database) == [(1, False), (0, False)]
        for version, is_fallback in ((0, True), (1, False)):
            manifests[version].write_bytes(sound[version])
            watch.look()  # sees that the files have changed
            watch.look()  # and now that they rest
            assert (served(slot), watch.production, watch.is_fallback) == (version, 1, is_fallback)
        assert b"ratchet_fallback 0.0" in metrics.render()

    def test_falls_back_when_a_byte_is_flipped_and_returns_when_it_is_mended(
        self, database: Database, slot: ModelSlot, artifacts: Artifacts, tmp_path: Path
    ) -> None:
        root = copy_and_promote_first(database, artifacts, tmp_path)
        weights = root / artifacts.folders[1] / "ctranslate2" / "model.bin"
        sound = weights.read_bytes()
        weights.write_bytes(sound[:-1] + bytes([sound[-1] ^ 1]))
        metrics = Metrics()
        watch = ProductionWatch(database, slot, root, 0.01, metrics)
        watch.look()
        watch.look()
        assert (served(slot), watch.production, watch.is_fallback) == (0, 1, True)
        assert b"ratchet_fallback 1.0" in metrics.render()
        weights.write_bytes(sound)
        watch.look()  # sees that the files have changed
        assert served(slot) == 0
        watch.look()  # and now that they rest
        assert (served(slot), watch.production, watch.is_fallback) == (1, 1, False)
        assert b"ratchet_fallback 0.0" in metrics.render()
        assert list_outcomes(database) == [(1, False), (0, True), (1, True)]


class TestStart:
    def test_outlives_a_load_that_fails_for_any_reason(self, database: Database, artifacts: Artifacts) -> None:
        def load(folder: Path, version: int, compute_type: str, threads: int) -> ModelHandle:
            if version == 1:
                raise ImportError("libtbb.so.12: cannot open shared object file")
            return load_handle(folder, version, compute_type, threads)

        slot = ModelSlot(load=load)
        watch = ProductionWatch(database, slot, artifacts.root, 0.01, Metrics())
        add_base_version(database, artifacts)
        add_first_version(database, artifacts)
        promote_first(database)
        watch.start()
        await_value(lambda: served(slot), lambda version: version == 0)
        assert not watch.has_ended
        watch.stop()
        assert list_outcomes(database) == [(1, False), (0, True)]
        slot.close()

    def test_outlives_a_disk_that_takes_no_copies(
        self, database: Database, slot: ModelSlot, artifacts: Artifacts, tmp_path: Path
    ) -> None:
        cache = tmp_path / "cache"
        cache.touch()  # a file where a folder belongs
        store = UrlStore(f"file://{artifacts.root}", cache, 3)
        watch = ProductionWatch(database, slot, cache, 0.01, Metrics(), store)
        add_base_version(database, artifacts)
        watch.start()
        assert watch.settled.wait(60)
        assert served(slot) is None
        cache.unlink()
        await_value(lambda: served(slot), lambda version: version == 0)
        watch.stop()
        assert not watch.has_ended

    def test_outlives_a_database_that_is_down(self, slot: ModelSlot, artifacts: Artifacts, tmp_path: Path) -> None:
        database = Database(f"sqlite:///{tmp_path / 'missing' / 'ratchet.db'}")
        watch = ProductionWatch(database, slot, artifacts.root, 0.01, Metrics())
        with pytest.raises(OperationalError):
            watch.look()
        watch.start()
        assert watch.settled.wait(60)
        watch.stop()
        database.dispose()

    def test_follows_the_pointer_by_itself(
        self, database: Database, slot: ModelSlot, watch: ProductionWatch, artifacts: Artifacts
    ) -> None:
        add_base_version(database, artifacts)
        watch.start()
        assert watch.settled.wait(60)
        watch.stop()
        assert served(slot) == 0
