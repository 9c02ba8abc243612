"""`ratchet holdout` shows the budget and draws a new hold-out."""

from __future__ import annotations

from pathlib import Path

from migrations.upgrade import upgrade_database
from tests.unit.test_cli import ratchet


def test_shows_and_renews(tmp_path: Path) -> None:
    upgrade_database(f"sqlite:///{tmp_path / 'ratchet.db'}")
    shown = ratchet(tmp_path, "holdout", "show")
    assert "Hold-out 1. Consultation 0 of 300" in shown.stdout, shown.stderr
    renewed = ratchet(tmp_path, "holdout", "renew", "--reason", "used up")
    assert "Hold-out 2 is in use." in renewed.stdout, renewed.stderr
