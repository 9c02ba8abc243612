"""The engine of a handle stays open exactly as long as somebody needs it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from serving.artifact import Artifact
from serving.engine import CTranslate2Engine, Sampling
from serving.errors import ArtifactInvalid
from serving.handle import ModelHandle, load_handle


class TestRetire:
    def test_closes_an_unused_engine_at_once(self, handle: ModelHandle) -> None:
        handle.retire()
        handle.retire()
        assert handle.closed.is_set()
        with pytest.raises(RuntimeError, match="unloaded"):
            handle.engine.generate([["a"]], Sampling(max_tokens=1))

    def test_waits_for_the_last_lease(self, handle: ModelHandle) -> None:
        handle.acquire()
        handle.acquire()
        handle.retire()
        handle.release()
        assert (handle.leases, handle.closed.is_set()) == (1, False)
        assert handle.engine.generate([["a"]], Sampling(max_tokens=1))
        handle.release()
        assert handle.closed.is_set()


class TestRelease:
    def test_keeps_a_handle_that_is_not_retired(self, handle: ModelHandle) -> None:
        handle.acquire()
        handle.release()
        assert not handle.closed.is_set()


class TestAcquire:
    def test_refuses_a_closed_handle(self, handle: ModelHandle) -> None:
        handle.retire()
        with pytest.raises(RuntimeError, match="Version 1"):
            handle.acquire()


class TestLoadHandle:
    def test_knows_what_it_loaded(self, handle: ModelHandle, artifact: Artifact) -> None:
        assert (handle.version, handle.digest, handle.folder) == (1, artifact.digest, artifact.folder)

    @pytest.mark.parametrize(("threads", "parallel"), [(1, 1), (2, 2), (5, 2)])
    def test_shares_the_threads_between_two_batches(self, artifact: Artifact, threads: int, parallel: int) -> None:
        handle = load_handle(artifact.folder, 1, "int8", threads, "ctranslate2")
        assert isinstance(handle.engine, CTranslate2Engine)
        assert handle.engine.parallel_batches == parallel
        handle.retire()

    def test_refuses_a_changed_artifact(self, artifact: Artifact, tmp_path: Path) -> None:
        copy = shutil.copytree(artifact.folder, tmp_path / "copy")
        (copy / "config.json").write_text("{}")
        with pytest.raises(ArtifactInvalid):
            load_handle(copy, 1)
