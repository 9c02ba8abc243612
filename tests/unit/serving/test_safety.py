"""A crisis is seen, its reply begins with the resources of the region, and a broken detector shows them too."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from data.crisis import CrisisSignal
from data.crisis_encoder import CRISIS_CATEGORIES, CrisisModelInvalid
from serving.safety import CRISIS_RESOURCES, SafetyLayer

INTERNATIONAL = ("988", "116 123", "112", "findahelpline.com")


def break_with(error: Exception) -> SafetyLayer:
    """A layer whose detector raises."""

    def detect(turns: Sequence[str]) -> CrisisSignal | None:
        raise error

    return SafetyLayer(detect=detect)


class TestScreen:
    def test_sees_a_crisis(self) -> None:
        assert SafetyLayer().screen(["I want to kill myself."]) == CrisisSignal("suicide", "rule")

    def test_leaves_sadness_to_the_model(self) -> None:
        assert SafetyLayer().screen(["I feel sad about my exam."]) is None

    @pytest.mark.parametrize(
        "error",
        [CrisisModelInvalid(), ValueError(), KeyError(), MemoryError(), RecursionError(), TypeError(), OSError()],
    )
    def test_a_detector_that_breaks_counts_as_a_crisis(self, error: Exception) -> None:
        assert break_with(error).screen(["Hi"]) == CrisisSignal("detector_failed", "failure")


class TestBuildCrisisReply:
    @pytest.mark.parametrize(
        ("region", "number"),
        [
            ("US", "988"),
            ("ca", "988"),
            ("GB", "116 123"),
            ("uk", "116 123"),
            (" ie ", "116 123"),
            ("EU", "112"),
            ("PL", "112"),
            ("DE", "116 123"),
            ("FR", "3114"),
            ("AU", "13 11 14"),
        ],
    )
    def test_begins_with_the_number_of_the_region(self, region: str, number: str) -> None:
        reply = SafetyLayer().build_crisis_reply(region)
        assert reply.startswith(CRISIS_RESOURCES[region.strip().upper()])
        assert number in reply.split("\n\n")[0]

    @pytest.mark.parametrize("region", ["", "ZZ", "nowhere"])
    def test_falls_back_to_international_resources(self, region: str) -> None:
        first = SafetyLayer().build_crisis_reply(region).split("\n\n")[0]
        assert all(part in first for part in INTERNATIONAL)

    def test_takes_the_region_and_the_texts_of_the_deployment(self) -> None:
        layer = SafetyLayer("us", {"us": "Call the ward on 1.", "XX": "Call 2."})
        assert layer.build_crisis_reply().startswith("Call the ward on 1.")
        assert layer.build_crisis_reply("xx").startswith("Call 2.")
        assert layer.build_crisis_reply("CA").startswith(CRISIS_RESOURCES["CA"])

    @pytest.mark.parametrize("category", [*CRISIS_CATEGORIES, "detector_failed", ""])
    def test_asks_back_after_the_resources(self, category: str) -> None:
        reply = SafetyLayer().build_crisis_reply("US", category)
        assert reply.startswith(CRISIS_RESOURCES["US"])
        assert reply.endswith("?")

    def test_no_reply_of_ours_is_filtered(self) -> None:
        for region in (*CRISIS_RESOURCES, ""):
            for category in (*CRISIS_CATEGORIES, ""):
                text = SafetyLayer().build_crisis_reply(region, category)
                output_filter = SafetyLayer().build_filter("", region)
                assert output_filter.push(text) + output_filter.finish() == text


class TestBuildFilter:
    def test_ends_with_the_resources_of_the_region(self) -> None:
        output_filter = SafetyLayer("GB").build_filter("")
        assert output_filter.push("Kill yourself now. ").endswith(CRISIS_RESOURCES["GB"])

    def test_knows_the_conversation(self) -> None:
        output_filter = SafetyLayer().build_filter("I am ann@example.org")
        assert output_filter.push("Hello ann@example.org!") + output_filter.finish() == "Hello ann@example.org!"
