"""From a request to sampling."""

from __future__ import annotations

from typing import Any

import pytest

from api.completions import build_sampling
from api.schemas.chat import ChatCompletionCreate
from serving.engine import Sampling


def build(**members: Any) -> Sampling:
    request = ChatCompletionCreate.model_validate({"messages": [{"role": "user", "content": "Hi"}]} | members)
    return build_sampling(request, max_reply_tokens=100)


class TestBuildSampling:
    def test_has_defaults(self) -> None:
        assert build() == Sampling(max_tokens=100, temperature=0.7, top_p=1.0)

    def test_takes_what_is_asked(self) -> None:
        assert build(temperature=1.5, top_p=0.5, max_tokens=7, stop=["a", "b"]) == Sampling(7, 1.5, 0.5, 0, ("a", "b"))

    @pytest.mark.parametrize(
        ("members", "max_tokens"),
        [
            ({"max_tokens": 1000}, 100),
            ({"max_completion_tokens": 5}, 5),
            ({"max_tokens": 9, "max_completion_tokens": 5}, 5),
        ],
    )
    def test_limits_tokens(self, members: dict[str, int], max_tokens: int) -> None:
        assert build(**members).max_tokens == max_tokens

    @pytest.mark.parametrize(("given", "used"), [(0, 0), (1e-300, 0), (0.01, 0.01)])
    def test_is_greedy_at_temperatures_next_to_none(self, given: float, used: float) -> None:
        assert build(temperature=given).temperature == used

    def test_takes_one_stop_string(self) -> None:
        assert build(stop="END").stop == ("END",)
