"""The `ratchet` command as a process: exit codes, and one sentence with the remedy."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from data.recipe import build_recipe
from db.runs import list_runs
from db.session import Database
from db.versions import ensure_base_version

SEED_RECIPE = Path(__file__).parents[2] / "recipes" / "seed.toml"


def ratchet(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RATCHET_")}
    return subprocess.run(
        [sys.executable, "-m", "cli", *words],
        capture_output=True,
        text=True,
        env=kept | {"RATCHET_VAR": str(folder), "COLUMNS": "200", **environment},
        check=False,
    )


@pytest.fixture
def migrated(tmp_path: Path) -> Path:
    assert ratchet(tmp_path, "db", "upgrade").returncode == 0
    return tmp_path


COMMANDS = [
    "up",
    "api",
    "worker",
    "beat",
    "import",
    "improve",
    "runs",
    "versions",
    "promote",
    "rollback",
    "demo",
    "tensorboard",
    "doctor",
    "backup",
    "restore",
]


class TestHelp:
    def test_lists_every_command(self, tmp_path: Path) -> None:
        text = ratchet(tmp_path, "--help").stdout
        assert [command for command in [*COMMANDS, "keys", "db"] if command not in text] == []

    @pytest.mark.parametrize("command", COMMANDS)
    def test_each_command_explains_itself(self, tmp_path: Path, command: str) -> None:
        done = ratchet(tmp_path, command, "--help")
        assert done.returncode == 0
        assert "Usage:" in done.stdout


class TestMistakes:
    def test_wrong_usage_is_2(self, tmp_path: Path) -> None:
        assert ratchet(tmp_path, "promote").returncode == 2

    def test_a_database_without_tables_names_the_remedy(self, tmp_path: Path) -> None:
        done = ratchet(tmp_path, "runs")
        assert done.returncode == 1
        assert "ratchet db upgrade" in done.stderr
        assert "Traceback" not in done.stderr

    def test_an_unknown_recipe_field_is_named(self, migrated: Path) -> None:
        done = ratchet(migrated, "improve", "--set", "speed=11")
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert "Unknown recipe field 'speed'" in done.stderr

    @pytest.mark.parametrize("content", [b"trainable = last:4", b"\xff\xfe"])
    def test_a_recipe_that_cannot_be_read_is_one_sentence(self, tmp_path: Path, content: bytes) -> None:
        file = tmp_path / "recipe.toml"
        file.write_bytes(content)
        done = ratchet(tmp_path, "improve", "--recipe", str(file))
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert "cannot be read" in done.stderr

    @pytest.mark.parametrize(
        ("command", "name", "value"),
        [
            ("runs", "RATCHET_PORT", "abc"),
            ("doctor", "RATCHET_THREADS", "0"),
            ("runs", "RATCHET_CORS_ORIGINS", "abc"),
            ("runs", "RATCHET_DATABASE_URL", "foo"),
            ("up", "RATCHET_DATABASE_URL", "mysql://x/y"),
            ("api", "RATCHET_DATABASE_URL", "postgresql+psycopg2://x/y"),
        ],
    )
    def test_a_setting_that_cannot_be_used_is_named(self, tmp_path: Path, command: str, name: str, value: str) -> None:
        done = ratchet(tmp_path, command, **{name: value})
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert name.removeprefix("RATCHET_").lower() in done.stderr.lower()
        assert len(done.stderr.strip().splitlines()) == 1

    @pytest.mark.parametrize("words", [["up"], ["api"], ["runs"], ["raters", "list"], ["db", "upgrade"]])
    @pytest.mark.parametrize("below", ["", "below"])
    def test_a_file_in_the_way_of_the_folder_is_named(self, tmp_path: Path, words: list[str], below: str) -> None:
        file = tmp_path / "file"
        file.touch()
        done = ratchet(file / below, *words)
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert str(file) in done.stderr
        assert "RATCHET_VAR" in done.stderr

    def test_a_backup_into_a_folder_that_is_missing_names_it(self, migrated: Path) -> None:
        done = ratchet(migrated, "backup", str(migrated / "missing" / "x.tar"))
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
        assert f"There is no folder {migrated / 'missing'}" in done.stderr

    def test_a_worker_without_a_broker_names_the_remedy(self, migrated: Path) -> None:
        done = ratchet(migrated, "worker")
        assert done.returncode == 1
        assert "ratchet up" in done.stderr

    def test_waiting_without_a_worker_says_so_and_keeps_the_run(self, migrated: Path) -> None:
        done = ratchet(migrated, "improve", "--wait")
        assert done.returncode == 1
        assert "No worker answers" in done.stderr
        assert "queued" in ratchet(migrated, "runs").stdout

    def test_a_rollback_without_history_is_refused(self, migrated: Path) -> None:
        done = ratchet(migrated, "rollback")
        assert done.returncode == 1
        assert "no earlier version" in done.stderr


class TestImprove:
    def test_takes_a_recipe_file_and_single_fields_on_top(self, migrated: Path) -> None:
        done = ratchet(migrated, "improve", "--recipe", str(SEED_RECIPE), "--set", "sft_epochs=3", "--set", "seed=7")
        assert done.returncode == 0
        database = Database(f"sqlite:///{migrated / 'ratchet.db'}")
        with database.reading() as session:
            (run,) = list_runs(session)
            recipe = build_recipe(run.recipe)
        database.dispose()
        assert (recipe.sft_epochs, recipe.seed, recipe.batch_size, recipe.max_tokens) == (3, 7, 10, 128)


class TestUp:
    """Where the artifacts cannot be, so that it ends before it starts anything."""

    @pytest.fixture
    def blocked(self, migrated: Path) -> dict[str, str]:
        (migrated / "file").touch()
        return {"RATCHET_ARTIFACTS_URL": str(migrated / "file" / "artifacts"), "RATCHET_BASE_MODEL": "tiny"}

    def test_says_without_a_terminal_that_it_prepares_the_base_model(
        self, migrated: Path, blocked: dict[str, str]
    ) -> None:
        done = ratchet(migrated, "up", **blocked)
        assert (done.returncode, done.stdout) == (1, "Preparing the base model tiny (once).\n")

    def test_says_nothing_where_it_was_prepared(self, migrated: Path, blocked: dict[str, str]) -> None:
        database = Database(f"sqlite:///{migrated / 'ratchet.db'}")
        with database.transaction() as session:
            ensure_base_version(session, "0" * 64, "base", "another")
        database.dispose()
        done = ratchet(migrated, "up", **blocked)
        assert (done.returncode, done.stdout) == (1, "")
        assert "RATCHET_BASE_MODEL=another" in done.stderr


class TestTensorboard:
    def test_serves_the_runs_on_loopback(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "cli", "tensorboard", "--port", str(port)]
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=os.environ | {"RATCHET_VAR": str(tmp_path)},
            text=True,
        )
        try:
            assert process.stderr is not None
            assert any(f"http://127.0.0.1:{port}/" in line for line in process.stderr)  # it says when it is ready
            environment = httpx.get(f"http://127.0.0.1:{port}/data/environment").json()
            assert environment["data_location"] == str(tmp_path / "runs")
        finally:
            process.terminate()
            process.communicate()


class TestImport:
    def test_reports_new_and_known_rows(self, migrated: Path, tmp_path: Path) -> None:
        file = tmp_path / "pairs.csv"
        file.write_text("Context,Response\nI am sad,Tell me more\nI am sad,Tell me more\n")
        assert "1 new, 0 already there" in ratchet(migrated, "import", str(file)).stdout
        assert "0 new, 1 already there" in ratchet(migrated, "import", str(file)).stdout

    def test_names_the_line_and_imports_nothing(self, migrated: Path, tmp_path: Path) -> None:
        file = tmp_path / "pairs.csv"
        file.write_text("Context,Response\ngood,pair\nonly one\n")
        done = ratchet(migrated, "import", str(file))
        assert done.returncode == 1
        assert "line 3" in done.stderr
        file.write_text("Context,Response\ngood,pair\n")
        assert "1 new" in ratchet(migrated, "import", str(file)).stdout

    def test_a_missing_file_is_one_sentence(self, migrated: Path) -> None:
        done = ratchet(migrated, "import", "nothing.csv")
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)


class TestKeysCreate:
    def test_prints_the_key_and_nothing_else(self, migrated: Path) -> None:
        done = ratchet(migrated, "keys", "create", "--role", "client")
        assert done.returncode == 0
        assert done.stdout.startswith("rk-")
        assert len(done.stdout.split()) == 1


class TestKeysRevoke:
    def test_a_revoked_key_is_shown_as_such_and_no_secret_ever(self, migrated: Path) -> None:
        secret = ratchet(migrated, "keys", "create", "--role", "admin", "--name", "ward 3").stdout.strip()
        listed = ratchet(migrated, "keys", "list").stdout
        assert "ward 3" in listed
        assert secret not in listed
        key_id = next(word for word in listed.split() if word.startswith("key-"))
        assert ratchet(migrated, "keys", "revoke", key_id).returncode == 0
        assert "revoked" in ratchet(migrated, "keys", "list").stdout

    def test_an_unknown_key_is_one_sentence(self, migrated: Path) -> None:
        done = ratchet(migrated, "keys", "revoke", "key-nothing")
        assert (done.returncode, "Traceback" in done.stderr) == (1, False)
