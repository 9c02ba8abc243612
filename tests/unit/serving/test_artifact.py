"""An artifact is whole, unchanged and free of code, or it is refused."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from serving.artifact import MANIFEST, Artifact, load_artifact, move_artifact, reseal_artifact, seal_artifact
from serving.errors import ArtifactInvalid


@pytest.fixture
def copied(artifact: Artifact, tmp_path: Path) -> Path:
    """A copy of the artifact, to be changed."""
    return Path(shutil.copytree(artifact.folder, tmp_path / "copy"))


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[Path]:
    """A folder in another file system than `tmp_path`."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("There is no second file system at /dev/shm.")
    with tempfile.TemporaryDirectory(dir=memory) as folder:
        yield Path(folder)


def change_manifest(folder: Path, change: Callable[[dict[str, object]], None]) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


class TestLoadArtifact:
    def test_one_byte_in_any_file_is_seen(self, copied: Path, artifact: Artifact) -> None:
        for name in artifact.manifest["files"]:
            content = (copied / name).read_bytes()
            (copied / name).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
            with pytest.raises(ArtifactInvalid, match="changed"):
                load_artifact(copied)
            (copied / name).write_bytes(content)
        assert load_artifact(copied).digest == artifact.digest

    @pytest.mark.parametrize("name", ["extra.json", "ctranslate2/extra.json"])
    def test_one_file_more_is_seen(self, copied: Path, name: str) -> None:
        (copied / name).write_text("{}")
        with pytest.raises(ArtifactInvalid, match="extra"):
            load_artifact(copied)

    def test_files_that_may_carry_code_are_refused(self, copied: Path) -> None:
        (copied / "weights.pkl").write_bytes(b"")
        seal_artifact(copied)
        with pytest.raises(ArtifactInvalid, match=r"weights\.pkl"):
            load_artifact(copied)

    def test_links_are_refused(self, copied: Path, tmp_path: Path) -> None:
        (tmp_path / "secret.json").write_text("{}")
        (copied / "secret.json").symlink_to(tmp_path / "secret.json")
        seal_artifact(copied)
        with pytest.raises(ArtifactInvalid, match="is a link"):
            load_artifact(copied)

    def test_a_digest_that_does_not_belong_to_the_files_is_refused(self, copied: Path) -> None:
        change_manifest(copied, lambda manifest: manifest.update(digest="0" * 64))
        with pytest.raises(ArtifactInvalid, match="digest"):
            load_artifact(copied)

    @pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": 1, "digest": 2}'])
    def test_a_manifest_that_is_none_is_refused(self, copied: Path, text: str) -> None:
        (copied / MANIFEST).write_text(text)
        with pytest.raises(ArtifactInvalid, match="no readable"):
            load_artifact(copied)

    def test_can_be_asked_not_to_read_every_file(self, copied: Path, artifact: Artifact) -> None:
        (copied / "config.json").write_text("changed")
        assert load_artifact(copied, verify=False).digest == artifact.digest


class TestSealArtifact:
    def test_the_digest_covers_the_files_and_no_facts(self, copied: Path, artifact: Artifact) -> None:
        assert seal_artifact(copied, run_id=7) == artifact.digest
        assert load_artifact(copied).manifest["run_id"] == 7

    def test_but_the_compute_type_where_it_is_not_float32(self, copied: Path, artifact: Artifact) -> None:
        assert artifact.compute_type == "float32"
        assert seal_artifact(copied, compute_type="float32") == artifact.digest
        assert seal_artifact(copied, compute_type="int8") != artifact.digest
        assert load_artifact(copied).compute_type == "int8"

    def test_so_nobody_changes_it_unseen(self, copied: Path) -> None:
        seal_artifact(copied, compute_type="int8")
        change_manifest(copied, lambda manifest: manifest.update(compute_type="float32"))
        with pytest.raises(ArtifactInvalid, match="digest"):
            load_artifact(copied)


class TestResealArtifact:
    def test_adds_facts_to_those_that_are_there(self, copied: Path) -> None:
        seal_artifact(copied, run_id=7)
        digest = reseal_artifact(copied, compute_type="int8")
        found = load_artifact(copied)
        assert (found.digest, found.manifest["run_id"], found.compute_type) == (digest, 7, "int8")


class TestMoveArtifact:
    def test_renames_a_folder_to_its_place(self, copied: Path, tmp_path: Path, artifact: Artifact) -> None:
        destination = tmp_path / "artifacts" / artifact.digest
        move_artifact(copied, destination)
        assert load_artifact(destination).digest == artifact.digest
        assert not copied.exists()

    def test_leaves_one_that_is_there_already(self, copied: Path, artifact: Artifact) -> None:
        before = artifact.folder.stat().st_mtime_ns
        move_artifact(copied, artifact.folder)
        assert artifact.folder.stat().st_mtime_ns == before
        assert not copied.exists()

    def test_takes_the_place_of_one_that_is_broken(self, copied: Path, tmp_path: Path, artifact: Artifact) -> None:
        broken = Path(shutil.copytree(copied, tmp_path / "place"))
        (broken / "config.json").write_text("{}")
        move_artifact(copied, broken)
        assert load_artifact(broken).digest == artifact.digest
        assert sorted(path.name for path in tmp_path.iterdir()) == ["place"]

    def test_moves_to_another_file_system(self, copied: Path, elsewhere: Path, artifact: Artifact) -> None:
        (elsewhere / "place.copying-1").mkdir()  # what a killed process left
        move_artifact(copied, elsewhere / "place")
        assert load_artifact(elsewhere / "place").digest == artifact.digest
        assert [path.name for path in elsewhere.iterdir()] == ["place"]
        assert not copied.exists()

    def test_leaves_nothing_of_a_copy_that_fails(self, copied: Path, elsewhere: Path) -> None:
        os.mkfifo(copied / "pipe")  # which nothing can copy
        with pytest.raises(OSError, match="pipe"):
            move_artifact(copied, elsewhere / "place")
        assert list(elsewhere.iterdir()) == []
        assert load_artifact(copied, verify=False)
