"""Each blind set is counted whole, by kind and category."""

from __future__ import annotations

import pytest

from benchmarks.crisis_blind import BLIND_SETS, measure_blind, print_shares


@pytest.mark.parametrize(
    ("name", "crises", "suicide", "calm"), [("blind", [120, 180, 120], 70, 250), ("blind_2", [120, 360, 180], 110, 300)]
)
def test_counts_each_message_in_its_rows(name: str, crises: list[int], suicide: int, calm: int) -> None:
    shares = {share.name: share for share in measure_blind(lambda text: True if "e" in text else None, name)}
    kinds = ("explicit", "indirect", "veiled")
    assert [shares[kind].total for kind in kinds] == crises
    assert sum(shares[f"suicide {kind}"].total for kind in kinds) == suicide
    assert shares["none"].total == calm
    assert sum(share.total for row, share in shares.items() if row.startswith("none ")) == calm
    assert not shares["none"].is_crisis
    assert shares["explicit"].is_crisis
    assert 0 < shares["veiled"].flagged <= crises[2]


def test_prints_shares_and_no_message(capsys: pytest.CaptureFixture[str]) -> None:
    print_shares(measure_blind(lambda _: None, BLIND_SETS[0]))
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3 + 6 * 3 + 5
    assert all("0/" in line and "%" in line for line in lines)
