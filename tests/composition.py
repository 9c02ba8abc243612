"""Reads docker-compose.yml, and runs its services as plain processes."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
_VARIABLE = re.compile(r"\$\$|\$\{(\w+)(?::([?-])([^}]*))?\}")


def load_composition(values: dict[str, str]) -> dict[str, Any]:
    """The services by name, with the variables filled in as Compose does it.

    Raises:
        KeyError: a variable without a default has no value.
    """
    text = (ROOT / "docker-compose.yml").read_text()
    services: dict[str, Any] = yaml.safe_load(text)["services"]
    return {name: _fill(service, values) for name, service in services.items()}


def list_in_order(services: dict[str, Any]) -> list[str]:
    """The names of the services, each after those that it depends on.

    Raises:
        graphlib.CycleError: they wait for each other.
    """
    return list(
        TopologicalSorter({name: list(each.get("depends_on", [])) for name, each in services.items()}).static_order()
    )


@dataclass(frozen=True)
class Host:
    """Where the services run as processes: what hosts, ports and volumes are there.

    Attributes:
        environment: takes the place of what the file says, by name.
        programs: folders with the programs that the images would bring.
    """

    folder: Path
    environment: dict[str, str]
    programs: tuple[Path, ...]

    def build_environment(self, service: dict[str, Any]) -> dict[str, str]:
        """What the file gives the service, and the machine's own beside that, with nothing of ours."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RATCHET_", "PYTEST_"))}
        given = {name: str(value) for name, value in service.get("environment", {}).items()}
        mapped = {name: self.environment.get(name, value) for name, value in given.items()}
        path = os.pathsep.join([*map(str, self.programs), str(Path(sys.executable).parent), os.environ["PATH"]])
        return kept | mapped | {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "200"}

    def start(self, name: str, service: dict[str, Any]) -> subprocess.Popen[bytes]:
        """The service's command as a process; what it prints goes to a file of its name."""
        command = service["command"]
        with (self.folder / f"{name}.log").open("wb") as log:
            return subprocess.Popen(
                shlex.split(command) if isinstance(command, str) else command,
                env=self.build_environment(service),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def is_healthy(self, service: dict[str, Any]) -> bool:
        """Whether the service's health check passes now."""
        kind, *words = service["healthcheck"]["test"]
        command = words if kind == "CMD" else ["sh", "-c", words[0]]
        environment = self.build_environment(service)
        done = subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, check=False)
        return done.returncode == 0


def _fill(value: Any, values: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: _fill(item, values) for name, item in value.items()}
    if isinstance(value, list):
        return [_fill(item, values) for item in value]
    return _VARIABLE.sub(lambda match: _look_up(match, values), value) if isinstance(value, str) else value


def _look_up(match: re.Match[str], values: dict[str, str]) -> str:
    name, kind, words = match.groups()
    if name is None:
        return "$"
    if kind == "-":
        return values.get(name) or words
    if not values.get(name):
        raise KeyError(name)
    return values[name]
