"""A backup brings everything back, whole or not at all."""

from __future__ import annotations

import io
import json
import shutil
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from backup import MANIFEST, BackupInvalid, restore_backup, write_backup
from data.errors import Conflict, NotFound
from db.completions import get_completion
from db.promotions import get_production, promote
from db.session import Database, build_url
from doctor import examine
from serving.artifact import load_artifact
from serving.errors import ArtifactInvalid
from settings import Settings
from tests.rows import add_client, add_completion
from tests.unit.api.live import Artifacts, add_base_version, add_first_version


@pytest.fixture
def source(tmp_path: Path, sqlite_template: Path, artifacts: Artifacts) -> Iterator[Settings]:
    """A deployment that serves version 1."""
    settings = Settings(_env_file=None, var=tmp_path / "source")
    shutil.copytree(artifacts.root, settings.artifacts)
    shutil.copy(sqlite_template, settings.var / "ratchet.db")
    database = Database(settings.database)
    add_base_version(database, artifacts)
    add_first_version(database, artifacts)
    with database.transaction() as session:
        promote(session, 1, "manual", "Better.", "ann")
    yield settings
    database.dispose()


@pytest.fixture
def target(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, var=tmp_path / "target")


def list_names(file: Path) -> list[str]:
    with tarfile.open(file) as tar:
        return tar.getnames()


def rewrite(file: Path, **members: bytes | None) -> None:
    """The same tar file with other contents of some members, given by the last part of their name; None leaves out."""
    with tarfile.open(file) as tar:
        found = [(member, tar.extractfile(member).read()) for member in tar]  # type: ignore[union-attr]
    with tarfile.open(file, "w") as tar:
        for member, content in found:
            changed = members.get(Path(member.name).stem, content)
            if changed is not None:
                member.size = len(changed)
                tar.addfile(member, io.BytesIO(changed))


class TestRoundTrip:
    def test_brings_back_rows_that_were_committed_and_weights_to_the_bit(
        self, source: Settings, target: Settings, artifacts: Artifacts, tmp_path: Path
    ) -> None:
        database = Database(source.database)
        with database.transaction() as session:
            key_id = add_client(session)
            kept = add_completion(session, key_id, reply="Grüße 🌱").id
        with database.transaction() as session:  # a writer in the middle of its transaction is not in the way
            open_one = add_completion(session, key_id).id
            session.flush()
            summary = write_backup(source, tmp_path / "b.tar")
        database.dispose()
        assert (summary.versions, summary.with_database) == ((0, 1), True)
        assert stat.S_IMODE((tmp_path / "b.tar").stat().st_mode) == 0o600
        assert sorted(path.name for path in tmp_path.iterdir()) == ["b.tar", "source"]
        assert restore_backup(target, tmp_path / "b.tar").versions == (0, 1)
        restored = Database(target.database)
        with restored.reading() as session:
            assert get_completion(session, kept, key_id).reply == "Grüße 🌱"
            assert get_production(session).number == 1
            with pytest.raises(NotFound):
                get_completion(session, open_one, key_id)
        restored.dispose()
        digests = [load_artifact(target.artifacts / folder).digest for folder in artifacts.folders]
        assert tuple(digests) == artifacts.digests
        states = {check.name: check.state for check in examine(target)}
        assert (states["database"], states["migrations"], states["artifacts"]) == ("ok", "ok", "ok")

    def test_of_postgresql_it_takes_the_artifacts_only(
        self, source: Settings, target: Settings, postgres_template: str, postgres_url: str, tmp_path: Path
    ) -> None:
        url = build_url(postgres_url).set(database=postgres_template).render_as_string(hide_password=False)
        summary = write_backup(source.model_copy(update={"database_url": url}), tmp_path / "b.tar")
        assert (summary.versions, summary.with_database) == ((), False)
        assert list_names(tmp_path / "b.tar") == [MANIFEST]
        restore_backup(target, tmp_path / "b.tar")
        assert not (target.var / "ratchet.db").exists()


class TestWriteBackup:
    def test_overwrites_nothing(self, source: Settings, tmp_path: Path) -> None:
        (tmp_path / "b.tar").write_text("precious")
        with pytest.raises(Conflict):
            write_backup(source, tmp_path / "b.tar")
        assert (tmp_path / "b.tar").read_text() == "precious"

    def test_without_a_database_there_is_nothing_to_save(self, target: Settings, tmp_path: Path) -> None:
        with pytest.raises(NotFound):
            write_backup(target, tmp_path / "b.tar")

    def test_a_folder_that_is_missing_is_not_made(self, source: Settings, tmp_path: Path) -> None:
        with pytest.raises(NotFound, match="There is no folder"):
            write_backup(source, tmp_path / "missing" / "b.tar")
        assert not (tmp_path / "missing").exists()

    def test_damaged_weights_are_refused_and_leave_no_file(
        self, source: Settings, artifacts: Artifacts, tmp_path: Path
    ) -> None:
        (source.artifacts / artifacts.folders[0] / "config.json").write_text("{}")
        with pytest.raises(ArtifactInvalid):
            write_backup(source, tmp_path / "b.tar")
        assert [path.name for path in tmp_path.iterdir()] == ["source"]


class TestRestoreBackup:
    @pytest.fixture
    def file(self, source: Settings, tmp_path: Path) -> Path:
        write_backup(source, tmp_path / "b.tar")
        return tmp_path / "b.tar"

    def test_refuses_a_folder_that_is_not_empty(self, file: Path, source: Settings) -> None:
        before = (source.var / "ratchet.db").read_bytes()
        with pytest.raises(Conflict):
            restore_backup(source, file)
        assert (source.var / "ratchet.db").read_bytes() == before

    def test_refuses_a_database_where_another_is_configured(self, file: Path, target: Settings) -> None:
        with pytest.raises(Conflict):
            restore_backup(target.model_copy(update={"database_url": "postgresql://somewhere/else"}), file)

    @pytest.mark.parametrize("change", [{"ratchet": b"other"}, {"model": None}, {"manifest": b"{}"}])
    def test_a_changed_or_missing_member_restores_nothing(
        self, file: Path, target: Settings, change: dict[str, bytes | None]
    ) -> None:
        rewrite(file, **change)
        with pytest.raises(BackupInvalid):
            restore_backup(target, file)
        assert list(target.var.iterdir()) == []

    @pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "artifacts/../../outside", "artifacts/x/../../y"])
    def test_no_name_leads_outside(self, target: Settings, tmp_path: Path, name: str) -> None:
        file = tmp_path / "hostile.tar"
        manifest = json.dumps({"format": 1, "versions": [], "files": {name: "0"}}).encode()
        with tarfile.open(file, "w") as tar:
            for member_name, content in ((MANIFEST, manifest), (name, b"hostile")):
                member = tarfile.TarInfo(member_name)
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
        with pytest.raises(BackupInvalid):
            restore_backup(target, file)
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["hostile.tar", "target"]

    def test_a_link_is_refused(self, target: Settings, tmp_path: Path) -> None:
        file = tmp_path / "hostile.tar"
        manifest = json.dumps({"format": 1, "versions": [], "files": {"artifacts/a/b": "0"}}).encode()
        with tarfile.open(file, "w") as tar:
            member = tarfile.TarInfo(MANIFEST)
            member.size = len(manifest)
            tar.addfile(member, io.BytesIO(manifest))
            link = tarfile.TarInfo("artifacts/a/b")
            link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
            tar.addfile(link)
        with pytest.raises(BackupInvalid):
            restore_backup(target, file)

    @pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
    def test_half_a_file_is_no_backup(self, file: Path, target: Settings, share: float) -> None:
        content = file.read_bytes()
        file.write_bytes(content[: int(len(content) * share)])
        with pytest.raises(BackupInvalid):
            restore_backup(target, file)
        assert list(target.var.iterdir()) == []
