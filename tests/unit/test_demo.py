"""The demo begins anew each time, and touches nothing but its own folder."""

from pathlib import Path

import pytest

from data.errors import Conflict
from demo import empty_folder
from stack import lock_folder


class TestEmptyFolder:
    def test_takes_away_an_earlier_demo_and_nothing_beside_it(self, tmp_path: Path) -> None:
        (tmp_path / "ratchet.db").write_text("people's ratings")
        (tmp_path / "demo" / "runs").mkdir(parents=True)
        (tmp_path / "demo" / "report.json").write_text("{}")
        folder = empty_folder(tmp_path)
        assert (folder, list(folder.iterdir())) == (tmp_path / "demo", [])
        assert (tmp_path / "ratchet.db").read_text() == "people's ratings"

    def test_leaves_a_demo_that_runs_alone(self, tmp_path: Path) -> None:
        folder = empty_folder(tmp_path)
        (folder / "report.json").write_text("{}")
        with lock_folder(folder), pytest.raises(Conflict, match="stop it"):
            empty_folder(tmp_path)
        assert (folder / "report.json").exists()
