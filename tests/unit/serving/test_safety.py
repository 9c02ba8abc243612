"""A crisis is seen, and its reply names the resources of the region."""

from __future__ import annotations

import pytest

from serving.safety import CRISIS_RESOURCES, build_crisis_reply, screen_message


class TestScreenMessage:
    def test_sees_a_crisis(self) -> None:
        assert screen_message("I want to kill myself.") == "suicide"

    def test_leaves_sadness_to_the_model(self) -> None:
        assert screen_message("I feel sad about my exam.") is None


class TestBuildCrisisReply:
    @pytest.mark.parametrize(
        ("region", "number"),
        [
            ("US", "988"),
            ("ca", "988"),
            ("GB", "116 123"),
            ("uk", "116 123"),
            (" ie ", "116 123"),
            ("DE", "112"),
        ],
    )
    def test_names_the_number_of_the_region(self, region: str, number: str) -> None:
        reply = build_crisis_reply(region)
        assert CRISIS_RESOURCES[region.strip().upper()] in reply
        assert number in reply

    @pytest.mark.parametrize("region", ["", "ZZ", "nowhere"])
    def test_falls_back_to_international_resources(self, region: str) -> None:
        reply = build_crisis_reply(region)
        assert all(part in reply for part in ("988", "116 123", "112", "findahelpline.com"))
