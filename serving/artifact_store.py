"""Where artifacts live: a folder, or any URL that fsspec knows (`s3://bucket/artifacts`) with copies on this machine.

URL/NAME/…             the files of one artifact
URL/NAME/manifest.json written last: without it there is no artifact, so an upload that broke off is never seen
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from serving.artifact import MANIFEST, check_names, load_artifact, move_artifact
from serving.errors import ArtifactInvalid, StoreUnavailable

_OPTIONS: dict[str, dict[str, Any]] = {
    "file": {"auto_mkdir": True},
    "s3": {"config_kwargs": {"connect_timeout": 5, "read_timeout": 60, "retries": {"max_attempts": 2}}},
}
_LOCK_FILE = ".lock"
_STAGED = ".staged-"


class ArtifactStore(Protocol):
    """What serving and the worker need of a store; names are those that the database has (`Version.folder`)."""

    def fetch(self, name: str) -> Path:
        """The folder of an artifact on this machine.

        Raises:
            ArtifactInvalid: the store has no whole artifact of that name.
            StoreUnavailable: it does not answer, or no copy can be kept here.
        """

    def publish(self, staged: Path, name: str) -> None:
        """Move a sealed artifact into the store; one that is there already stays.

        Raises:
            ArtifactInvalid: the folder is not a whole artifact; nothing is stored.
            StoreUnavailable: the store does not answer; `staged` stays where it is.
        """


class FolderStore:
    """Artifacts in one folder of this machine (or of a file system that machines share)."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def fetch(self, name: str) -> Path:
        """See `ArtifactStore`; whether the folder is whole is found when it is loaded."""
        return self._root / name

    def publish(self, staged: Path, name: str) -> None:
        """See `ArtifactStore`."""
        move_artifact(staged, self._root / name)


class UrlStore:
    """Artifacts at a URL. Of each that was asked for a copy stays in `cache`, of the `kept` used last.

    Several processes may share the cache. Credentials and endpoint of S3 come from where its tools take them
    (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL`, an instance's role, …).

    Raises:
        StoreUnavailable: the URL has a scheme that nothing installed here speaks.
    """

    def __init__(self, url: str, cache: Path, kept: int) -> None:
        self._url = url.rstrip("/")
        self._cache = cache
        self._kept = kept
        self._files, self._root = _open_file_system(self._url)

    def fetch(self, name: str) -> Path:
        """See `ArtifactStore`. A copy is checked when it is made, and again by whoever loads it."""
        folder = self._cache / name
        try:
            with self._locked():
                if not (folder / MANIFEST).exists():
                    self._download(name, folder)
                os.utime(folder)
                self._evict(folder)
        except OSError as error:  # as when the disk is full: what the store itself raises is told apart by then
            raise StoreUnavailable(
                f"No copy of {self._url}/{name} can be kept in {self._cache} ({error}); make room there, or mend it."
            ) from error
        return folder

    def publish(self, staged: Path, name: str) -> None:
        """See `ArtifactStore`. Every file is verified before the first is sent."""
        files = load_artifact(staged).manifest["files"]
        with self._reaching(needs_all=True):
            if not self._files.exists(f"{self._root}/{name}/{MANIFEST}"):
                for file in (*files, MANIFEST):
                    self._files.put_file(str(staged / file), f"{self._root}/{name}/{file}")
        with self._locked():
            move_artifact(staged, self._cache / name)
            os.utime(self._cache / name)
            self._evict(self._cache / name)

    def _download(self, name: str, folder: Path) -> None:
        staged = self._cache / f"{_STAGED}{uuid.uuid4().hex}"
        try:
            for file in self._list_files(name):
                path = staged / file
                path.parent.mkdir(parents=True, exist_ok=True)
                with self._reaching():
                    self._files.get_file(f"{self._root}/{name}/{file}", str(path))
            load_artifact(staged)
            shutil.rmtree(folder, ignore_errors=True)  # a copy without a manifest is none
            move_artifact(staged, folder)
        except FileNotFoundError as error:
            raise ArtifactInvalid(f"{self._url}/{name} lacks a file ({error}); take another version.") from error
        finally:
            shutil.rmtree(staged, ignore_errors=True)

    def _list_files(self, name: str) -> list[str]:
        """The names in the manifest, which may lie, and the manifest's own."""
        place = f"{self._url}/{name}"
        try:
            with self._reaching():
                content = self._files.cat_file(f"{self._root}/{name}/{MANIFEST}")
            names = [str(file) for file in json.loads(content)["files"]]
        except (FileNotFoundError, ValueError, KeyError, TypeError) as error:
            raise ArtifactInvalid(f"{place} holds no readable {MANIFEST}; take another version.") from error
        check_names(names, place)
        return [*names, MANIFEST]

    def _evict(self, asked: Path) -> None:
        """Remove the copies used longest ago, never the one just asked for, and what a killed download left."""
        for left in self._cache.glob(f"{_STAGED}*"):
            shutil.rmtree(left)
        copies = [path for path in self._cache.iterdir() if path.is_dir() and path != asked]
        copies.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in copies[self._kept - 1 :]:
            shutil.rmtree(path)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """One process at a time changes the cache."""
        self._cache.mkdir(parents=True, exist_ok=True)
        with (self._cache / _LOCK_FILE).open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _reaching(self, *, needs_all: bool = False) -> Iterator[None]:
        """Faults of the store as ours; a file that is not there is one of them only with `needs_all`."""
        try:
            yield
        except _list_faults() as error:
            if isinstance(error, FileNotFoundError) and not needs_all:
                raise
            raise StoreUnavailable(
                f"The store {self._url} does not answer as it should ({error}); see RATCHET_ARTIFACTS_URL and its "
                "credentials."
            ) from error


def open_store(folder: Path, url: str = "", kept: int = 6) -> ArtifactStore:
    """The store at `url` with copies in `folder`; without a URL the folder itself.

    Raises:
        StoreUnavailable: see `UrlStore`.
    """
    return UrlStore(url, folder, kept) if url else FolderStore(folder)


def _open_file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system, and the path of `url` in it."""
    try:
        from fsspec.core import url_to_fs  # an extra: who keeps artifacts in a folder needs none of it

        options = _OPTIONS.get(url.partition("://")[0], {})
        files, root = url_to_fs(url, use_listings_cache=False, **options)
    except (ImportError, ValueError) as error:
        raise StoreUnavailable(
            f"RATCHET_ARTIFACTS_URL={url} cannot be used ({error}); run `pip install .[s3]` in the checkout, "
            "or install what fsspec needs for it."
        ) from error
    return files, str(root)


def _list_faults() -> tuple[type[BaseException], ...]:
    """What file systems raise: most of it is an OSError, but not all of S3's."""
    try:
        from botocore.exceptions import BotoCoreError, ClientError
    except ImportError:
        return (OSError,)
    return (OSError, BotoCoreError, ClientError)
