"""An artifact on disk: safetensors, tokenizer, CTranslate2 model, and the manifest that names every file's sha256.

artifact/
├── model.safetensors, config.json, tokenizer.json, …   loads with transformers.pipeline
├── ctranslate2/                                        what is served
├── openvino/                                           the graph that OpenVINO serves; not in every artifact
└── manifest.json                                       written last; its digest names the artifact
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from serving.errors import ArtifactInvalid

MANIFEST = "manifest.json"
_COPYING = ".copying-"
_EXACT = "float32"
_ALLOWED_SUFFIXES = frozenset({".safetensors", ".json", ".jinja", ".txt", ".bin", ".model", ".md", ".xml"})


@dataclass(frozen=True)
class Artifact:
    """A folder whose manifest was read (and, unless asked otherwise, whose files were verified)."""

    folder: Path
    digest: str  # sha256 over the names and sha256s of all files, and the compute type where one was chosen
    manifest: dict[str, Any]

    @property
    def engine_folder(self) -> Path:
        """Folder of the CTranslate2 model."""
        return self.folder / "ctranslate2"

    @property
    def compute_type(self) -> str:
        """What the trainer chose to serve it in, by what that costs; float32 where it chose nothing."""
        return str(self.manifest.get("compute_type", _EXACT))

    @property
    def openvino_graph(self) -> Path:
        """File of the graph for OpenVINO, which older artifacts and some types of models do not have."""
        return self.folder / "openvino" / "openvino_model.xml"


def seal_artifact(folder: Path, **facts: Any) -> str:
    """Write the manifest into a finished folder, fsync everything, and return the digest.

    `facts` (base digest, run id, recipe, library versions) are stored beside the file list; the digest covers the
    files only, so the same weights have the same digest whoever made them. Among them `compute_type` is covered too
    where it is not float32: the same weights rounded are another model.
    """
    files = {
        path.relative_to(folder).as_posix(): hash_file(path) for path in _list_files(folder) if path.name != MANIFEST
    }
    digest = _digest(files, facts.get("compute_type", _EXACT))
    manifest = folder / MANIFEST
    manifest.write_text(json.dumps({"digest": digest, "files": files, **facts}, indent=2, sort_keys=True) + "\n")
    _fsync_all(folder)
    return digest


def reseal_artifact(folder: Path, **facts: Any) -> str:
    """Add `facts` to the manifest of an artifact that nobody uses yet, and return its digest, which may be new."""
    known = load_artifact(folder, verify=False).manifest
    return seal_artifact(folder, **{name: known[name] for name in known if name not in ("digest", "files")} | facts)


def move_artifact(staged: Path, destination: Path) -> None:
    """Rename a sealed folder to its place; the same artifact that is there already, and whole, is left as it is.

    From another file system it is copied beside its place first, so that no part of it is ever there.

    What is there and is not whole, because a disk or a hand has changed it, makes room.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    if destination.exists():
        if _holds(destination, load_artifact(staged, verify=False).digest):
            shutil.rmtree(staged)
            return
        broken = destination.with_name(f"{destination.name}.broken-{uuid.uuid4().hex}")
        destination.rename(broken)
        shutil.rmtree(broken, ignore_errors=True)
    try:
        staged.rename(destination)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_across(staged, destination)
    _fsync(destination.parent)


def _copy_across(staged: Path, destination: Path) -> None:
    """Move to another file system, by a copy beside the place; what a crash leaves of it the next call removes."""
    for left in destination.parent.glob(f"{destination.name}{_COPYING}*"):
        shutil.rmtree(left, ignore_errors=True)
    copy = destination.with_name(f"{destination.name}{_COPYING}{uuid.uuid4().hex}")
    try:
        shutil.copytree(staged, copy, symlinks=True)
        _fsync_all(copy)
        copy.rename(destination)
    finally:
        shutil.rmtree(copy, ignore_errors=True)
    shutil.rmtree(staged)


def _holds(folder: Path, digest: str) -> bool:
    try:
        return load_artifact(folder).digest == digest
    except ArtifactInvalid:
        return False


def load_artifact(folder: Path, *, verify: bool = True) -> Artifact:
    """The artifact in `folder`.

    Raises:
        ArtifactInvalid: no manifest, a missing, extra or changed file, a link, or a file type that could carry code.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        files, digest = dict(manifest["files"]), str(manifest["digest"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ArtifactInvalid(f"{folder} holds no readable {MANIFEST}; take another version.") from error
    if verify:
        _verify_files(folder, files)
        if _digest(files, manifest.get("compute_type", _EXACT)) != digest:
            raise ArtifactInvalid(f"The manifest of {folder} does not match its own digest; take another version.")
    return Artifact(folder=folder, digest=digest, manifest=manifest)


def _verify_files(folder: Path, files: dict[str, str]) -> None:
    links = [path for path in (folder, *folder.rglob("*")) if path.is_symlink()]
    if links:
        raise ArtifactInvalid(f"{links[0]} is a link, which may lead out of the artifact; do not load it.")
    found = {path.relative_to(folder).as_posix() for path in _list_files(folder)} - {MANIFEST}
    if found != set(files):
        odd = sorted(found ^ set(files))[0]
        raise ArtifactInvalid(
            f"{folder} does not hold exactly the files of its manifest ({odd}); take another version."
        )
    check_names(files, str(folder))
    for name, expected in files.items():
        if hash_file(folder / name) != expected:
            raise ArtifactInvalid(f"{folder / name} was changed after it was made; take another version.")


def check_names(names: Iterable[str], place: str) -> None:
    """Raises ArtifactInvalid when a file's name leads out of the artifact or its type could carry code."""
    for name in names:
        path = PurePosixPath(name)
        if path.suffix not in _ALLOWED_SUFFIXES or ".." in path.parts or path.is_absolute():
            raise ArtifactInvalid(f"{place} holds {name}, a kind of file that no artifact has; do not load it.")


def _list_files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def hash_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _digest(files: dict[str, str], compute_type: object) -> str:
    covered = files if compute_type == _EXACT else {**files, "compute_type": compute_type}  # no file has such a name
    return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()


def _fsync_all(folder: Path) -> None:
    for path in (*_list_files(folder), folder, *(path for path in folder.rglob("*") if path.is_dir())):
        _fsync(path)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
