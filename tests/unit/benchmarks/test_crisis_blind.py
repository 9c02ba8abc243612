"""The blind set is counted whole, by kind and category."""

from __future__ import annotations

import pytest

from benchmarks.crisis_blind import measure_blind, print_shares


def test_counts_each_message_in_its_rows() -> None:
    shares = {share.name: share for share in measure_blind(lambda text: True if "e" in text else None)}
    kinds = ("explicit", "indirect", "veiled")
    assert [shares[kind].total for kind in kinds] == [120, 180, 120]
    assert sum(shares[f"suicide {kind}"].total for kind in kinds) == 70
    assert shares["none"].total == sum(share.total for name, share in shares.items() if name.startswith("none ")) == 250
    assert not shares["none"].is_crisis
    assert shares["explicit"].is_crisis
    assert shares["veiled"].flagged <= 120


def test_prints_shares_and_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    print_shares(measure_blind(lambda _: None))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + 6 * 3 + 5
    assert all("0/" in line and "%" in line for line in lines)
