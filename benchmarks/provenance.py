"""Where a figure comes from: the machine, the commit and the command, written beside what was measured."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path
from typing import Any


def describe_origin(command: str) -> dict[str, Any]:
    """Machine, load, commit and command of a measurement that is made now."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    return {
        "machine": f"{os.cpu_count()} processors, {platform.machine()}, {_name_processor()}",
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "commit": commit.stdout.strip(),
        "command": command,
    }


def save_json(path: Path, values: Any) -> None:
    """Write `values`, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    staged = path.with_suffix(".partial")
    staged.write_text(json.dumps(values, indent=2) + "\n")
    staged.replace(path)


def _name_processor() -> str:
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()
