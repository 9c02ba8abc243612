"""Artifacts in a folder, and at a URL: on a real S3 server, and through fsspec's file:// for what goes wrong."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
from moto.server import ThreadedMotoServer

from serving.artifact import MANIFEST, Artifact, load_artifact, seal_artifact
from serving.artifact_store import FolderStore, UrlStore, open_store
from serving.errors import ArtifactInvalid, StoreUnavailable

_VARIABLES = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """URL of a bucket on an S3 server of our own; the environment leads there, as in a deployment."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    patch = pytest.MonkeyPatch()
    for name, value in (_VARIABLES | {"AWS_ENDPOINT_URL": f"http://{host}:{port}"}).items():
        patch.setenv(name, value)
    s3fs.S3FileSystem().mkdir("ratchet")
    yield "s3://ratchet/artifacts"
    patch.undo()
    server.stop()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture
def staged(artifact: Artifact, tmp_path: Path) -> Path:
    """The artifact as a run leaves it, to be moved."""
    shutil.copytree(artifact.folder, tmp_path / "staged")
    return tmp_path / "staged"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A tiny sealed folder."""
    return build_small(tmp_path / "small")


@pytest.fixture
def remote(tmp_path: Path) -> Path:
    """Where the store at `file://` has its files."""
    return tmp_path / "remote"


@pytest.fixture
def store(remote: Path, tmp_path: Path) -> UrlStore:
    return UrlStore(f"file://{remote}", tmp_path / "cache", 3)


def build_small(folder: Path, text: str = "{}") -> Path:
    (folder / "ctranslate2").mkdir(parents=True)
    (folder / "config.json").write_text(text)
    (folder / "ctranslate2" / "model.bin").write_bytes(b"weights")
    seal_artifact(folder)
    return folder


class TestS3:
    def test_carries_an_artifact_to_another_machine(
        self, bucket: str, staged: Path, artifact: Artifact, tmp_path: Path
    ) -> None:
        UrlStore(bucket, tmp_path / "here", 3).publish(staged, "first")
        folder = UrlStore(bucket, tmp_path / "there", 3).fetch("first")
        assert load_artifact(folder).digest == artifact.digest
        assert folder == tmp_path / "there" / "first"
        assert load_artifact(tmp_path / "here" / "first").digest == artifact.digest
        assert not staged.exists()

    def test_tells_what_is_not_there_from_a_store_that_is_away(self, bucket: str, tmp_path: Path) -> None:
        with pytest.raises(ArtifactInvalid, match=r"artifacts/gone holds no readable manifest\.json"):
            UrlStore(bucket, tmp_path, 3).fetch("gone")
        with pytest.raises(StoreUnavailable, match="does not answer as it should"):
            UrlStore("s3://ratchet-other-bucket/x", tmp_path, 3).publish(build_small(tmp_path / "small"), "small")

    def test_says_that_a_dead_store_is_away(
        self, bucket: str, small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
        s3fs.S3FileSystem.clear_instance_cache()
        store = UrlStore(bucket, tmp_path / "cache", 3)
        with pytest.raises(StoreUnavailable):
            store.publish(small, "small")
        with pytest.raises(StoreUnavailable):
            store.fetch("small")
        assert load_artifact(small).digest
        s3fs.S3FileSystem.clear_instance_cache()


class TestUrlStore:
    def test_sends_the_manifest_last(self, store: UrlStore, small: Path, remote: Path, tmp_path: Path) -> None:
        """So an upload that breaks off at any file is not seen, and is made whole by the next."""
        (remote / "small" / "ctranslate2").mkdir(parents=True)
        (remote / "small" / "ctranslate2" / "model.bin").mkdir()  # no file can be written there
        with pytest.raises(StoreUnavailable):
            store.publish(small, "small")
        assert not (remote / "small" / MANIFEST).exists()
        with pytest.raises(ArtifactInvalid):
            store.fetch("small")
        (remote / "small" / "ctranslate2" / "model.bin").rmdir()
        store.publish(small, "small")
        assert load_artifact(remote / "small").digest == load_artifact(store.fetch("small")).digest

    def test_sends_nothing_of_a_changed_artifact(self, store: UrlStore, small: Path, remote: Path) -> None:
        (small / "config.json").write_text("changed")
        with pytest.raises(ArtifactInvalid):
            store.publish(small, "small")
        assert not remote.exists()

    def test_leaves_what_is_there(self, store: UrlStore, small: Path, remote: Path, tmp_path: Path) -> None:
        again = shutil.copytree(small, tmp_path / "again")
        store.publish(small, "small")
        written_ns = (remote / "small" / "config.json").stat().st_mtime_ns
        store.publish(again, "small")
        assert (remote / "small" / "config.json").stat().st_mtime_ns == written_ns
        assert not again.exists()

    @pytest.mark.parametrize("damage", ["changed", "missing", "extra"])
    def test_keeps_no_copy_of_a_damaged_artifact(self, small: Path, remote: Path, tmp_path: Path, damage: str) -> None:
        shutil.copytree(small, remote / "small")
        weights = remote / "small" / "ctranslate2" / "model.bin"
        if damage == "changed":
            weights.write_bytes(b"weightz")
        elif damage == "missing":
            weights.unlink()
        else:
            manifest = remote / "small" / MANIFEST
            manifest.write_text(manifest.read_text().replace('"config.json"', '"../../escaped.json"'))
        cache = tmp_path / "cache"
        with pytest.raises(ArtifactInvalid):
            UrlStore(f"file://{remote}", cache, 3).fetch("small")
        assert [path.name for path in cache.iterdir()] == [".lock"]
        assert not list(tmp_path.rglob("escaped.json"))

    @pytest.mark.parametrize("in_the_way", ["cache", "cache/.lock", "cache/.staged-left"])
    def test_a_disk_that_takes_no_copy_is_told_as_a_store_that_is_away(
        self, store: UrlStore, small: Path, remote: Path, tmp_path: Path, in_the_way: str
    ) -> None:
        """A folder stands where a file belongs, or the other way round; the disk of a test cannot be filled."""
        shutil.copytree(small, remote / "small")
        place = tmp_path / in_the_way
        place.parent.mkdir(exist_ok=True)
        place.mkdir() if place.name == ".lock" else place.touch()
        with pytest.raises(StoreUnavailable, match=r"No copy of .*/small can be kept in .*/cache "):
            store.fetch("small")
        place.rmdir() if place.is_dir() else place.unlink()
        assert load_artifact(store.fetch("small")).digest

    def test_asks_the_store_once(self, store: UrlStore, small: Path, remote: Path) -> None:
        shutil.copytree(small, remote / "small")
        store.fetch("small")
        shutil.rmtree(remote)
        assert load_artifact(store.fetch("small")).digest

    def test_keeps_the_copies_used_last(self, store: UrlStore, remote: Path, tmp_path: Path) -> None:
        for number in range(5):
            build_small(remote / f"v{number}", f"[{number}]")
        (tmp_path / "cache" / ".staged-killed").mkdir(parents=True)
        for age_s, name in ((400, "v0"), (300, "v1"), (200, "v2")):
            used_s = store.fetch(name).stat().st_mtime - age_s
            os.utime(tmp_path / "cache" / name, (used_s, used_s))
        store.fetch("v0")
        store.fetch("v3")
        assert {path.name for path in (tmp_path / "cache").iterdir()} == {".lock", "v0", "v2", "v3"}

    def test_says_what_to_install_for_a_scheme(self, tmp_path: Path) -> None:
        with pytest.raises(StoreUnavailable, match=r"nothing://x cannot be used .* install"):
            open_store(tmp_path, "nothing://x")


class TestFolderStore:
    def test_is_what_a_deployment_without_a_url_uses(self, small: Path, tmp_path: Path) -> None:
        store = open_store(tmp_path / "artifacts")
        assert isinstance(store, FolderStore)
        store.publish(small, "small")
        assert load_artifact(store.fetch("small")).folder == tmp_path / "artifacts" / "small"
