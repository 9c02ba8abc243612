"""Follows the production pointer: notices that it moved, and lets the slot swap to what it points to."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from api.logs import log
from api.metrics import Metrics
from db.models import Version
from db.promotions import build_history, find_latest_promotion, list_promotions
from db.session import Database
from db.swaps import record_swap
from db.versions import get_version
from serving.artifact import load_artifact
from serving.artifact_store import ArtifactStore, FolderStore
from serving.errors import ArtifactInvalid, StoreUnavailable, SwapFailed, SwapPostponed
from serving.slot import ModelSlot

_RETRY_S = 3.0  # at most, between attempts at a version whose engine or store is away


@dataclass(frozen=True)
class _Attempt:
    """What is to be recorded of one swap."""

    version: int
    succeeded: bool
    detail: str
    seconds: float


_Fingerprint = tuple[tuple[str, int, int, int], ...]  # name, inode, size and time of change of each file


@dataclass(frozen=True)
class _Broken:
    """Production that did not load, with its predecessors where none of them did either, and how their files looked."""

    versions: list[Version]  # production first
    tried: _Fingerprint  # when it was last tried
    seen: _Fingerprint  # at the last look


class ProductionWatch:
    """A thread that looks at the pointer every `poll_s` seconds.

    A version that fails is not tried again until the pointer moves or its files change and then rest; one whose engine
    or store was away is tried every few seconds. The old one goes on answering. At a start there is no old one: then
    the versions that were in production before are tried, newest first; where none of them loads, all are tried again
    once one of them is mended. Once production is mended it takes its place back.

    Attributes:
        settled: set after the first look, however it ended.
        production: the version that the pointer led to at the last look; None before one was promoted.
    """

    def __init__(
        self,
        database: Database,
        slot: ModelSlot,
        artifacts: Path,
        poll_s: float,
        metrics: Metrics,
        store: ArtifactStore | None = None,
    ) -> None:
        self.settled = threading.Event()
        self._database = database
        self._slot = slot
        self._artifacts = artifacts  # for a store at a URL the copies on this machine
        self._store = store or FolderStore(artifacts)
        self._poll_s = poll_s
        self._metrics = metrics
        self._seen_promotion: int | None = None
        self._retry_at_s: float | None = None  # by the monotonic clock; None: nothing was postponed
        self._failures: set[tuple[int, str]] = set()  # recorded once since the pointer moved, however often tried
        self.production: int | None = None
        self._broken: _Broken | None = None
        self._unrecorded: list[_Attempt] = []
        self._one_look = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="production-watch", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Stop looking; a swap that has begun ends first."""
        self._stop.set()
        self._thread.join()

    def look(self) -> None:
        """Look once, and swap if production moved.

        Raises:
            SQLAlchemyError: the database does not answer; look again later.
        """
        with self._one_look:
            self._record_attempts()
            wanted = self._list_wanted()
            if wanted:
                self._follow(wanted)
            elif self._broken is not None:
                self._retry(self._broken)
            self._record_attempts()

    @property
    def is_fallback(self) -> bool:
        """Whether production did not load, so that an earlier version answers in its place."""
        return self._broken is not None

    @property
    def has_ended(self) -> bool:
        """Whether the thread that was started has ended though nobody stopped it: no later promotion is seen."""
        return self._thread.ident is not None and not self._thread.is_alive() and not self._stop.is_set()

    def _follow(self, wanted: list[Version]) -> None:
        """Serve the first that can be; what answers already is better than those after it."""
        production = wanted[0]
        before = {version.number: self._read_fingerprint([version]) for version in wanted}  # a change meanwhile counts
        for version in wanted:
            if self._is_served(version) or self._swap(version) or self._slot.current is not None:
                break
        is_served, current = self._is_served(production), self._slot.current
        watched = wanted if current is None else [production]
        seen = tuple(file for version in watched for file in before[version.number])
        self._broken = None if is_served else _Broken(watched, seen, seen)
        self._metrics.fallback.set(0 if is_served else 1)
        if not is_served:
            log.warning(
                "production does not load" if current else "no version loads",
                action="fallback",
                production=production.number,
                served=current.version if current else None,
                remedy="restore its folder from a backup, or promote another version",
            )

    def _retry(self, broken: _Broken) -> None:
        """Try again once the files have changed and then stayed the same for one look."""
        now = self._read_fingerprint(broken.versions)
        is_ready = now not in ((), broken.tried) and now == broken.seen
        self._broken = replace(broken, seen=now)
        if is_ready:
            self._follow(broken.versions)
            if self._broken is None:
                log.info("production is mended", action="fallback_ended", production=broken.versions[0].number)

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                try:
                    self.look()
                except SQLAlchemyError as error:
                    log.warning("database is down", action="watch_failed", error=type(error).__name__)
                self.settled.set()
                self._stop.wait(self._poll_s)
        finally:
            self.settled.set()
            if not self._stop.is_set():
                log.error("production is followed no longer", action="watch_ended", remedy="restart the API")

    def _list_wanted(self) -> list[Version]:
        """Production and its predecessors, if the pointer has moved since the last look."""
        with self._database.reading() as session:
            latest = find_latest_promotion(session)
            is_due = self._retry_at_s is not None and time.monotonic() >= self._retry_at_s
            if latest is not None and latest.id != self._seen_promotion:
                self._failures = set()
            if latest is None or (latest.id == self._seen_promotion and not is_due):
                return []
            history = build_history(reversed(list_promotions(session)))
            versions = [get_version(session, number) for number in dict.fromkeys(reversed(history))]
        self._seen_promotion, self._retry_at_s = latest.id, None
        self.production = versions[0].number
        return versions

    def _read_fingerprint(self, versions: list[Version]) -> _Fingerprint:
        return tuple(file for version in versions for file in _read_fingerprint(self._artifacts / version.folder))

    def _is_served(self, version: Version) -> bool:
        current = self._slot.current
        return current is not None and (current.version, current.digest) == (version.number, version.digest)

    def _swap(self, version: Version) -> bool:
        """Whether the version took over."""
        started_s, detail = time.monotonic(), ""
        try:
            folder = self._store.fetch(version.folder)
            _check_digest(folder, version)
            self._slot.swap(folder, version.number)
        except (ArtifactInvalid, StoreUnavailable, SwapFailed) as error:
            detail = error.message
            if isinstance(error, (StoreUnavailable, SwapPostponed)):
                self._retry_at_s = time.monotonic() + min(_RETRY_S, self._poll_s)
        succeeded = not detail
        attempt = _Attempt(version.number, succeeded, detail, time.monotonic() - started_s)
        failure = (version.number, detail)
        if succeeded or failure not in self._failures:
            self._unrecorded.append(attempt)
            self._failures = set() if succeeded else self._failures | {failure}
        self._metrics.swaps.labels("ok" if succeeded else "failed").inc()
        log.info("swap", action="swap", version=version.number, succeeded=succeeded, seconds=attempt.seconds)
        return succeeded

    def _record_attempts(self) -> None:
        """Write down what happened; if the database is down, at a later look."""
        process = f"{socket.gethostname()}:{os.getpid()}"
        while self._unrecorded:
            attempt = self._unrecorded[0]
            with self._database.transaction() as session:
                record_swap(session, process, attempt.version, attempt.succeeded, attempt.detail, attempt.seconds)
            self._unrecorded.pop(0)


def _check_digest(folder: Path, version: Version) -> None:
    """Raises ArtifactInvalid when the folder holds another artifact than the one that was registered."""
    if load_artifact(folder, verify=False).digest != version.digest:
        raise ArtifactInvalid(
            f"{folder} holds another artifact than version {version.number}; restore it, or promote another version."
        )


def _read_fingerprint(folder: Path) -> _Fingerprint:
    """Cheap enough for each look; empty when the folder is missing or changes at this moment."""
    try:
        files = [(path, path.stat()) for path in sorted(folder.rglob("*")) if path.is_file()]
    except OSError:
        return ()
    return tuple((str(path), stat.st_ino, stat.st_size, stat.st_mtime_ns) for path, stat in files)
