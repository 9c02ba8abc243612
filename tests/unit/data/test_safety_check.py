"""Shares with exact intervals, on our set and on data of others."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from data.crisis import find_crisis
from data.errors import InvalidDataset
from data.safety_check import FlaggedShare, measure_set, measure_shared
from data.safety_set import list_items

SHARED = Path(__file__).parents[4] / "shared" / "data"


class TestFlaggedShare:
    @pytest.mark.parametrize(
        ("flagged", "total", "low", "high"),
        [(0, 10, 0.0, 0.3085), (10, 10, 0.6915, 1.0), (5, 10, 0.1871, 0.8129), (0, 0, 0.0, 1.0)],
    )
    def test_has_the_interval_of_clopper_and_pearson(self, flagged: int, total: int, low: float, high: float) -> None:
        assert FlaggedShare("x", flagged, total, True).interval == pytest.approx((low, high), abs=1e-4)

    def test_has_no_share_of_nothing(self) -> None:
        assert FlaggedShare("x", 0, 0, True).share is None
        assert FlaggedShare("x", 1, 4, True).share == 0.25


class TestMeasureSet:
    def test_counts_each_item_in_its_rows(self) -> None:
        shares = {share.name: share for share in measure_set(lambda text: text if "e" in text else None, None)}
        explicit = [item for item in list_items("crisis") if item.kind == "explicit"]
        assert shares["explicit"].total == len(explicit)
        assert shares["explicit"].flagged == sum("e" in item.text for item in explicit)
        kinds = ("explicit", "indirect", "veiled")
        assert sum(shares[f"suicide {kind}"].total for kind in kinds) == sum(
            item.category == "suicide" for item in list_items("crisis")
        )
        assert shares["benign"].total == len(list_items("benign"))
        assert not shares["benign"].is_crisis
        assert shares["group stigma"].total == len(list_items("stigma"))

    def test_measures_one_half(self) -> None:
        halves = [measure_set(lambda _: None, half) for half in ("dev", "test")]
        assert [share.flagged for share in halves[0]] == [0] * len(halves[0])
        assert halves[0][0].total + halves[1][0].total == measure_set(lambda _: None, None)[0].total

    def test_the_detector_keeps_what_it_reached(self) -> None:
        """No target, but what the test half must not fall below; the figures are in docs/safety.md."""
        shares = {share.name: share.share or 0.0 for share in measure_set(find_crisis, "test")}
        assert shares["explicit"] >= 0.99
        assert shares["indirect"] >= 0.88
        assert shares["veiled"] >= 0.9
        assert shares["benign"] <= 0.08


class TestMeasureShared:
    def test_reads_what_is_there(self, tmp_path: Path) -> None:
        folder = tmp_path / "openai_moderation"
        folder.mkdir()
        rows = [{"prompt": "crisis", "SH": 1, "S": 0}, {"prompt": "calm", "SH": 0, "S": 0}, {"prompt": "bad", "S": 1}]
        with gzip.open(folder / "samples.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        (tmp_path / "safety_prompts").mkdir()
        (tmp_path / "safety_prompts" / "xstest_prompts.csv").write_text("prompt,label\ncrisis,unsafe\ncalm,safe\n")
        (tmp_path / "safety_prompts" / "simple_safety_tests.csv").write_text(
            'harm_area,prompts_final\n"Suicide, Self-Harm, and Eating Disorders",crisis\nother,calm\n'
        )
        (tmp_path / "counsel_chat").mkdir()
        with gzip.open(tmp_path / "counsel_chat" / "counsel_chat_founders.csv.gz", "wt") as file:
            file.write("question_id,Context\n1,calm\n1,calm\n2,crisis\n")
        shares = measure_shared(lambda text: True if text == "crisis" else None, tmp_path)
        assert {share.name: (share.flagged, share.total, share.is_crisis) for share in shares} == {
            "openai_moderation self-harm": (1, 1, True),
            "openai_moderation no label": (0, 1, False),
            "SimpleSafetyTests self-harm": (1, 1, True),
            "XSTest safe prompts": (0, 1, False),
            "counsel-chat questions": (1, 2, False),
        }

    def test_refuses_a_folder_without_any(self, tmp_path: Path) -> None:
        with pytest.raises(InvalidDataset, match="none of the known"):
            measure_shared(find_crisis, tmp_path)

    def test_finds_the_self_harm_prompts_of_others(self, tmp_path: Path) -> None:
        if not (SHARED / "safety_prompts").exists():
            pytest.skip("The data sets of others are not on this machine.")
        (tmp_path / "safety_prompts").symlink_to(SHARED / "safety_prompts")  # all of them would take a minute
        shares = {share.name: share.share or 0.0 for share in measure_shared(find_crisis, tmp_path)}
        assert shares["SimpleSafetyTests self-harm"] >= 0.95
        assert shares["XSTest safe prompts"] <= 0.15
