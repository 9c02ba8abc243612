"""Each check, well and not, with its remedy; the databases, broker and artifacts are real."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from db.session import Database
from db.versions import get_version
from doctor import Check, examine
from settings import Settings
from tests.processes import build_environment, find_free_port
from tests.unit.api.live import Artifacts, add_base_version, add_first_version

ALL = ["var", "disk", "database", "migrations", "clock", "broker", "base model", "artifacts"]


def ask(settings: Settings) -> dict[str, Check]:
    return {check.name: check for check in examine(settings)}


@pytest.fixture
def sound(settings: Settings, artifacts: Artifacts, tmp_path: Path) -> Settings:
    """A deployment with two versions that is well, and artifacts that a test may damage."""
    root = shutil.copytree(artifacts.root, tmp_path / "artifacts")
    database = Database(settings.database)
    add_base_version(database, artifacts)
    add_first_version(database, artifacts)
    with database.reading() as session:
        name = get_version(session, 0).base_model
    database.dispose()
    return settings.model_copy(update={"artifacts_url": str(root), "base_model": name})


class TestExamine:
    def test_finds_a_sound_deployment_well(self, sound: Settings) -> None:
        found = list(examine(sound))
        assert [check.name for check in found] == ALL
        assert [check for check in found if check.state == "fail" or (check.state == "ok") != (not check.remedy)] == []
        assert {check.name for check in found if check.state == "ok"} >= set(ALL) - {"disk"}

    @pytest.mark.parametrize("damage", ["flip", "remove", "exchange"])
    def test_names_the_version_whose_artifact_is_damaged(
        self, sound: Settings, artifacts: Artifacts, damage: str
    ) -> None:
        folder = sound.artifacts / artifacts.folders[1]
        weights = folder / "model.safetensors"
        if damage == "flip":
            content = weights.read_bytes()
            weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        elif damage == "remove":
            weights.unlink()
        else:
            shutil.rmtree(folder)
            shutil.copytree(sound.artifacts / artifacts.folders[0], folder)
        check = ask(sound)["artifacts"]
        assert (check.state, "Version 1" in check.detail, "backup" in check.remedy) == ("fail", True, True)

    def test_what_retention_removed_is_no_fault_but_a_missing_base_is(
        self, sound: Settings, artifacts: Artifacts
    ) -> None:
        shutil.rmtree(sound.artifacts / artifacts.folders[1])
        found = ask(sound)
        assert (found["artifacts"].state, "1 removed" in found["artifacts"].detail) == ("ok", True)
        shutil.rmtree(sound.artifacts / artifacts.folders[0])
        found = ask(sound)
        assert (found["artifacts"].state, found["base model"].state) == ("fail", "fail")

    def test_another_base_model_names_the_one_to_set(self, sound: Settings) -> None:
        check = ask(sound.model_copy(update={"base_model": "another"}))["base model"]
        assert (check.state, sound.base_model in check.remedy) == ("fail", True)

    def test_a_broker_that_does_not_answer_fails_and_none_is_a_warning(self, sound: Settings, tmp_path: Path) -> None:
        url = f"redis://:secret@127.0.0.1:{find_free_port()}/0"
        check = ask(sound.model_copy(update={"broker_url": url}))["broker"]
        assert (check.state, "secret" in check.detail) == ("fail", False)
        assert ask(sound.model_copy(update={"broker_url": ""}))["broker"].state == "warn"

    def test_without_a_database_the_rest_cannot_be_told(self, sound: Settings) -> None:
        url = f"postgresql://someone:secret@127.0.0.1:{find_free_port()}/nothing"
        found = ask(sound.model_copy(update={"database_url": url}))
        assert (found["database"].state, "secret" in found["database"].detail) == ("fail", False)
        assert {found[name].state for name in ("migrations", "clock", "artifacts")} == {"warn"}

    def test_a_url_of_another_database_is_told(self, sound: Settings) -> None:
        check = ask(sound.model_copy(update={"database_url": "mysql://someone:secret@host/name"}))["database"]
        assert (check.state, "secret" in check.detail) == ("fail", False)
        assert "postgresql://" in check.remedy

    def test_tables_that_are_missing_name_the_upgrade(self, empty_url: str, tmp_path: Path) -> None:
        if empty_url.startswith("sqlite"):
            (tmp_path / "ratchet.db").touch()
        found = ask(Settings(_env_file=None, var=tmp_path, database_url=empty_url))
        assert (found["database"].state, found["migrations"].state) == ("ok", "fail")
        assert "ratchet db upgrade" in found["migrations"].remedy

    def test_is_the_same_on_both_databases(self, database_url: str, tmp_path: Path) -> None:
        found = ask(Settings(_env_file=None, var=tmp_path, database_url=database_url))
        assert [found[name].state for name in ("database", "migrations", "clock")] == ["ok"] * 3
        assert found["base model"].state == "warn"

    def test_a_folder_that_cannot_be_written_names_its_owner(self, sound: Settings, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        check = ask(sound.model_copy(update={"var": tmp_path / "file"}))["var"]
        assert (check.state, "RATCHET_VAR" in check.remedy) == ("fail", True)


class TestCommand:
    @pytest.mark.parametrize("is_sound", [True, False])
    def test_prints_json_and_exits_1_on_a_failure(self, sound: Settings, is_sound: bool) -> None:
        environment = build_environment(
            var=sound.var,
            artifacts_url=sound.artifacts_url,
            base_model=sound.base_model if is_sound else "another",
            broker_url=sound.broker_url,
        )
        done = subprocess.run(
            [sys.executable, "-m", "cli", "doctor", "--json"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == (0 if is_sound else 1), done.stderr
        assert [check["name"] for check in json.loads(done.stdout)] == ALL
