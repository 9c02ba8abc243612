"""Whole runs share a trunk cache: a second one computes no lower block again, and a killed one leaves it whole."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from data.curation import CurationResult
from data.snapshot import save_snapshot
from tests.lessons import build_recipe, build_snapshot, read_losses
from tests.tiny import build_tiny_gpt2
from trainer.base import prepare_base

pytestmark = pytest.mark.slow
RECIPE = build_recipe(method="kto", sft_epochs=1, preference_epochs=1)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("base") / "artifact"
    prepare_base(str(build_tiny_gpt2(tmp_path_factory.mktemp("tiny"))), folder)
    return folder


def write_order(folder: Path, base: Path, cache: Path) -> None:
    rows = build_snapshot(6)
    save_snapshot(folder / "snapshot", CurationResult(rows=tuple(rows), dropped={}), len(rows), "salt")
    order = {
        "run_id": "run-test",
        "attempt": 1,
        "base": str(base),
        "production": str(base),
        "production_version": 0,
        "recipe": RECIPE.to_dict(),
        "trunk_cache": {"folder": str(cache), "limit_bytes": 10**7},
    }
    (folder / "run.json").write_text(json.dumps(order))


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "trainer", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def finish(trainer: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """Its events; it must end well."""
    output, _ = trainer.communicate(timeout=240)
    assert trainer.returncode == 0, output
    return [json.loads(line) for line in output.splitlines()]


def test_a_later_run_computes_nothing_again_also_after_a_kill(base: Path, tmp_path: Path) -> None:
    cache = tmp_path / "trunk-cache"
    for name in ("killed", "first", "second"):
        (tmp_path / name).mkdir()
        write_order(tmp_path / name, base, cache)
    killed = start(tmp_path / "killed")
    assert killed.stdout is not None
    next(line for line in killed.stdout if json.loads(line)["event"] == "progress")
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    events = finish(start(tmp_path / "first"))
    finish(start(tmp_path / "second"))
    first, second = (json.loads((tmp_path / name / "report.json").read_text()) for name in ("first", "second"))
    assert first["trunk_cache"]["misses"] > 0
    assert {"event": "trunk_cache", **first["trunk_cache"]} in events
    assert second["trunk_cache"]["misses"] == 0 < second["trunk_cache"]["hits"]
    assert second["trunk_cache"]["bytes"] == first["trunk_cache"]["bytes"] > 0
    assert second["scored_through_trunk"] == {"candidate": True, "production": True}
    assert read_losses(tmp_path / "second") == pytest.approx(read_losses(tmp_path / "first"), abs=1e-5)
