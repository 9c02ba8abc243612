"""A save that is cut off at any byte, by a kill or a full disk: readers see the old or the new, never a torn one."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from serving.artifact import load_artifact
from tests.faults.conftest import Tell
from tests.faults.dose import SEED, choose_dose
from tests.faults.torn_saves import STAGE, TOLD
from tests.processes import build_environment
from tests.tiny import build_tiny_gpt2
from trainer.checkpoints import Checkpoints

CUTS = choose_dose(12, 100)


@pytest.mark.slow
def test_saves_cut_off_at_random_bytes(tmp_path: Path, tell: Tell) -> None:
    base, root = build_tiny_gpt2(tmp_path / "tiny"), tmp_path / "saves"
    command = [sys.executable, "-m", "tests.faults.torn_saves", str(base), str(root), str(CUTS), str(SEED)]
    subprocess.run(command, env=build_environment(), check=True, stdout=subprocess.DEVNULL)
    ends: Counter[str] = Counter()
    steps: Counter[int] = Counter()
    for number in range(CUTS):
        folder = root / f"cut-{number}"
        code = int((folder / "end").read_text())
        assert code in (0, TOLD, -25), f"cut {number} was not told as a full disk: {code}"  # 25 is SIGXFSZ
        ends["whole" if code == 0 else "killed" if code < 0 else "disk full"] += 1
        if (folder / "artifact").exists():
            load_artifact(folder / "artifact")  # whole, or this raises
        last = Checkpoints(folder / "checkpoints").find_last(STAGE)
        assert last is not None
        steps[last.step] += 1
        assert code != 0 or (folder / "artifact").exists()
    assert ends["killed"] >= 1
    assert ends["disk full"] >= 1
    tell(f"{CUTS} saves cut off at random bytes: {dict(ends)}; 0 torn artifacts, checkpoints at steps {dict(steps)}")
