"""The rest of an erasure: after it no file below `var` holds a byte of the end user, save weights."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
import torch
from datasets import Dataset

from data.curation import CurationResult
from data.snapshot import save_snapshot
from data.vocabulary import Rating, RunStatus, SnapshotRow, Split
from db.completions import create_completion, ensure_conversation
from db.erasure import erase_end_user, get_erasure
from db.feedback import FeedbackValues, put_feedback
from db.models import Erasure
from db.pool import list_pool_rows
from db.raters import exclude_rater
from db.runs import claim_run, create_run, finish_run, get_run
from db.session import Database
from db.snapshots import save_snapshot_rows
from db.versions import register_version
from settings import Settings
from tests.rows import add_client
from trainer.trunk_cache import DiskStore, TrunkCacheOrder, pack_tokens
from trainer.trunk_owners import list_owners
from worker.erasure import (
    continue_erasures,
    forget_gone_rows,
    remove_crisis_memory,
    remove_holdout_cache,
    remove_run_files,
)
from worker.sweep import sweep_runs

CANARY = "canary-4711"
USER = f"{CANARY}@example.org"
SAID = FeedbackValues(rater_kind="end_user", rating=Rating.DOWN, comment=CANARY, correction=CANARY, reasons=(CANARY,))
LIKED = FeedbackValues(rater_kind="end_user", rating=Rating.UP)


@pytest.fixture
def settings(tmp_path: Path, sqlite_template: Path) -> Settings:
    """Settings of an embedded deployment with an empty database."""
    shutil.copy(sqlite_template, tmp_path / "ratchet.db")
    return Settings(_env_file=None, var=tmp_path)


@pytest.fixture
def database(settings: Settings) -> Iterator[Database]:
    """Its database, opened by another process as well, as by the API."""
    database, of_another = Database(settings.database), Database(settings.database)
    with of_another.reading():
        pass
    yield database
    database.dispose()
    of_another.dispose()


def add_rows(database: Database) -> None:
    """A conversation full of canaries and another without any."""
    with database.transaction() as session:
        key_id = add_client(session)
        for user, text in ((USER, CANARY), ("bob", "parrot")):
            conversation_id = ensure_conversation(session, key_id, f"talk-of-{text}", user)
            completion_id = create_completion(
                session,
                key_id=key_id,
                conversation_id=conversation_id,
                messages=[{"role": "user", "content": f"I am {text}. " * 2000}],  # more than a page
                reply=f"Dear {text}!",
                version_number=None,
                digest=None,
                sampling={},
                finish_reason="stop",
                prompt_tokens=1,
                reply_tokens=1,
                is_crisis=False,
                latency_s=0.1,
            )
            for said in (SAID, LIKED) if user == USER else (LIKED,):  # what was said first stays in the history
                put_feedback(session, completion_id, user, said)


def run_once(database: Database, settings: Settings) -> str:
    """A run that made a version, with the files that worker and trainer leave."""
    with database.transaction() as session:
        run_id = create_run(session, {}, "admin").id
        claim_run(session, run_id, "worker", lease_s=60)
        rows = [SnapshotRow(row=row, split=Split.TRAIN) for row in list_pool_rows(session)]
        folder = settings.runs / run_id / "attempt-1"
        manifest = save_snapshot(folder / "snapshot", CurationResult(rows=tuple(rows), dropped={}), len(rows), "salt")
        save_snapshot_rows(session, run_id, manifest, rows)
        report = {"samples": [{"context": CANARY, "before": CANARY, "after": "parrot"}]}
        version = register_version(session, run_id, "d1", "f1", "tiny", report)
        finish_run(session, run_id, 1, RunStatus.SUCCEEDED, None, version.number)
    pd.DataFrame({"cluster": [row.row.cluster for row in rows]}).to_parquet(folder / "scores.parquet")
    for name in ("report.json", "report.html", "trainer.log", ".snapshot-leftover", "run.json", "metrics.jsonl"):
        (folder / name).write_text("{}" if name in ("run.json", "metrics.jsonl") else CANARY)
    (folder / "artifact").mkdir()
    (folder / "artifact" / "model.safetensors").write_text("weights")
    return run_id


def list_files_with_canary(folder: Path) -> set[str]:
    """Names of the files that hold its bytes, as text or in a column of a table."""
    found = set()
    for path in (path for path in folder.rglob("*") if path.is_file()):
        texts = pd.read_parquet(path).to_csv() if path.suffix == ".parquet" else ""
        if CANARY.encode() in path.read_bytes() or CANARY in texts:
            found.add(path.name)
    return found


def erase(database: Database) -> str:
    with database.transaction() as session:
        return erase_end_user(session, USER).id


def read(database: Database, erasure_id: str) -> Erasure:
    with database.reading() as session:
        return get_erasure(session, erasure_id)


class TestContinueErasures:
    def test_no_byte_is_left(self, database: Database, settings: Settings) -> None:
        add_rows(database)
        run_id = run_once(database, settings)
        found = list_files_with_canary(settings.var)
        assert {"ratchet.db-wal", "rows.parquet", "scores.parquet", "report.json"} <= found
        erasure_id = erase(database)
        sweep_runs(database, settings)
        assert read(database, erasure_id).finished_at_s is None  # a process that was ending may write again
        sweep_runs(database, settings)
        assert read(database, erasure_id).finished_at_s is not None
        assert list_files_with_canary(settings.var) == set()
        assert b"parrot" in (settings.var / "ratchet.db").read_bytes()
        kept = {path.name for path in (settings.runs / run_id / "attempt-1").iterdir()}
        assert kept == {"artifact", "run.json", "metrics.jsonl"}

    def test_no_byte_of_an_exclusion_is_left(self, database: Database, settings: Settings) -> None:
        add_rows(database)
        with database.transaction() as session:
            exclude_rater(session, USER, f"{CANARY} pushes.", "key-1")
        erasure_id = erase(database)
        for _ in range(2):
            sweep_runs(database, settings)
        assert read(database, erasure_id).finished_at_s is not None
        assert list_files_with_canary(settings.var) == set()

    def test_removes_what_a_late_process_wrote(self, database: Database, settings: Settings) -> None:
        add_rows(database)
        late = settings.runs / run_once(database, settings) / "attempt-1" / "report.json"
        erasure_id = erase(database)
        continue_erasures(database, settings)
        late.write_text(CANARY)
        continue_erasures(database, settings)
        assert not late.exists()
        assert read(database, erasure_id).finished_at_s is None
        continue_erasures(database, settings)
        assert read(database, erasure_id).finished_at_s is not None

    def test_waits_for_the_interrupted_run(self, database: Database, settings: Settings) -> None:
        add_rows(database)
        run_once(database, settings)
        with database.transaction() as session:
            run_id = create_run(session, {}, "admin").id
            claim_run(session, run_id, "worker", lease_s=60)
            rows = [SnapshotRow(row=row, split=Split.TRAIN) for row in list_pool_rows(session)]
            save_snapshot_rows(session, run_id, {"digest": "d2"}, rows)
        erasure_id = erase(database)
        assert sweep_runs(database, settings).waiting == []
        with database.transaction() as session:
            finish_run(session, run_id, 1, RunStatus.CANCELLED, None)
        sweep = sweep_runs(database, settings)
        assert sweep.waiting == [read(database, erasure_id).retrain_run_id]  # and so it is nudged
        with database.reading() as session:
            assert get_run(session, sweep.waiting[0]).trigger == "erasure"


def keep_in_trunk_cache(database: Database, settings: Settings) -> dict[str, bytes]:
    """What a run of KTO keeps of one reply of each user; returns the keys by what they were made of.

    Its KL rows put the prompt of one before the reply of the other.
    """
    with database.reading() as session:
        rows = {row.reply: row for row in list_pool_rows(session)}
    canary, parrot = rows[f"Dear {CANARY}!"], rows["Dear parrot!"]
    prepared = [
        {"prompt_ids": [1], "completion_ids": [3], "KL_completion_ids": [4], "row_ids": [canary.row_id]},
        {"prompt_ids": [2], "completion_ids": [4], "KL_completion_ids": [3], "row_ids": [parrot.row_id]},
    ]
    store = DiskStore(TrunkCacheOrder(settings.trunk_cache, 10**6), "base", 1, torch.float32)
    owners = list_owners(Dataset.from_list(prepared), None)
    store.note(owners)
    store.keep({tokens: torch.ones(2, 3) for tokens in owners})
    texts = {"canary": [1, 3], "canary, parrot": [1, 4], "parrot, canary": [2, 3], "parrot": [2, 4]}
    assert store.measure()[0] == len(texts)
    store.close()
    return {name: pack_tokens(token_ids) for name, token_ids in texts.items()}


def find_kept(settings: Settings, texts: dict[str, bytes]) -> set[str]:
    """Which of the texts a later run would find."""
    store = DiskStore(TrunkCacheOrder(settings.trunk_cache, 10**6), "base", 1, torch.float32)
    store.note({tokens: {"feedback:1"} for tokens in texts.values()})
    kept = {name for name, tokens in texts.items() if store.find(tokens) is not None}
    store.close()
    return kept


class TestForgetGoneRows:
    def test_an_erasure_takes_every_text_that_a_row_of_the_user_is_part_of(
        self, database: Database, settings: Settings
    ) -> None:
        add_rows(database)
        texts = keep_in_trunk_cache(database, settings)
        assert not forget_gone_rows(database, settings.trunk_cache)  # nobody is gone yet
        erasure_id = erase(database)
        continue_erasures(database, settings)
        assert read(database, erasure_id).finished_at_s is None
        continue_erasures(database, settings)
        assert read(database, erasure_id).finished_at_s is not None
        files = list((settings.trunk_cache / "rows").glob("*/*"))
        assert len(files) == 1
        assert find_kept(settings, texts) == {"parrot"}

    def test_has_nothing_to_do_where_no_run_kept_anything(self, database: Database, settings: Settings) -> None:
        assert not forget_gone_rows(database, settings.trunk_cache)
        assert not settings.trunk_cache.exists()


class TestRemoveHoldoutCache:
    def test_an_erasure_takes_what_was_answered_to_the_hold_out(self, database: Database, settings: Settings) -> None:
        add_rows(database)
        kept = settings.holdout_cache / "3f.answers"
        kept.parent.mkdir()
        kept.write_text(CANARY)
        erasure_id = erase(database)
        continue_erasures(database, settings)
        assert not kept.parent.exists()
        assert read(database, erasure_id).finished_at_s is None  # a run that was ending may keep something again
        continue_erasures(database, settings)
        assert read(database, erasure_id).finished_at_s is not None

    def test_tells_whether_there_was_anything(self, tmp_path: Path) -> None:
        assert not remove_holdout_cache(tmp_path / "holdout-cache")
        assert remove_holdout_cache(tmp_path)


class TestRemoveCrisisMemory:
    def test_an_erasure_takes_what_the_classifier_remembers(self, database: Database, settings: Settings) -> None:
        add_rows(database)
        half_written = settings.var / f".7.{settings.crisis_memory.name}"
        for file in (settings.crisis_memory, half_written):
            file.write_text(CANARY)
        erase(database)
        continue_erasures(database, settings)
        assert not settings.crisis_memory.exists()
        assert not half_written.exists()

    def test_tells_whether_there_was_anything(self, tmp_path: Path) -> None:
        assert not remove_crisis_memory(tmp_path / "crisis-memory.npz")


class TestRemoveRunFiles:
    def test_tells_whether_there_were_any(self, tmp_path: Path) -> None:
        (tmp_path / "attempt-1" / "snapshot").mkdir(parents=True)
        assert remove_run_files(tmp_path)
        assert not remove_run_files(tmp_path)

    def test_takes_a_folder_that_is_not_there_for_clean(self, tmp_path: Path) -> None:
        assert not remove_run_files(tmp_path / "run-1")
