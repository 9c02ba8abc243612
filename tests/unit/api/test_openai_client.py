"""The real `openai` package as the client of a real server."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from settings import Settings
from tests.unit.api.live import Artifacts, Live, serve, start_app

MESSAGES: list[ChatCompletionMessageParam] = [{"role": "user", "content": "I cannot sleep."}]


@pytest.fixture
def address(live: Live) -> Iterator[str]:
    with serve(live.app) as address:
        yield f"{address}/v1"


@pytest.fixture
def client(live: Live, address: str) -> Iterator[openai.OpenAI]:
    key = live.callers.client["Authorization"].removeprefix("Bearer ")
    with openai.OpenAI(api_key=key, base_url=address, max_retries=0) as client:
        yield client


class TestChat:
    def test_gets_a_whole_reply(self, client: openai.OpenAI) -> None:
        completion = client.chat.completions.create(
            model="production", messages=MESSAGES, max_completion_tokens=8, temperature=0, user="ann"
        )
        assert completion.id.startswith("chatcmpl-")
        assert completion.model == "ratchet-v0"
        assert completion.choices[0].message.content
        assert completion.choices[0].finish_reason == "length"
        assert completion.usage is not None
        assert completion.usage.completion_tokens == 8

    def test_gets_a_stream_with_usage(self, client: openai.OpenAI) -> None:
        options = {"model": "production", "messages": MESSAGES, "max_tokens": 8, "temperature": 0}
        whole = client.chat.completions.create(**options)  # type: ignore[call-overload]
        with client.chat.completions.create(  # type: ignore[call-overload]
            **options, stream=True, stream_options={"include_usage": True}
        ) as stream:
            chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == whole.choices[0].message.content
        assert chunks[-2].choices[0].finish_reason == "length"
        assert chunks[-1].usage.total_tokens == whole.usage.total_tokens

    def test_gets_several_choices_whole_and_in_a_stream(self, client: openai.OpenAI) -> None:
        options = {"model": "production", "messages": MESSAGES, "max_tokens": 8, "n": 3, "temperature": 0}
        completion = client.chat.completions.create(**options)  # type: ignore[call-overload]
        assert [choice.index for choice in completion.choices] == [0, 1, 2]
        assert all(choice.message.content for choice in completion.choices)
        with client.chat.completions.create(**options, stream=True) as stream:  # type: ignore[call-overload]
            choices = [chunk.choices[0] for chunk in stream]
        for index in range(3):
            mine = [choice for choice in choices if choice.index == index]
            assert mine[0].delta.role == "assistant"
            assert any(choice.delta.content for choice in mine)
            assert mine[-1].finish_reason == "length"

    def test_sees_the_headers(self, client: openai.OpenAI) -> None:
        raw = client.chat.completions.with_raw_response.create(model="production", messages=MESSAGES, max_tokens=1)
        assert raw.headers["X-Ratchet-Version"] == "0"
        assert str(raw.request_id).startswith("req-")


class TestModels:
    def test_lists_them(self, client: openai.OpenAI) -> None:
        assert [model.id for model in client.models.list()] == ["production", "ratchet-v0"]


class TestErrors:
    def test_a_wrong_key_is_an_authentication_error(self, address: str) -> None:
        with (
            openai.OpenAI(api_key="rk-wrong", base_url=address, max_retries=0) as client,
            pytest.raises(openai.AuthenticationError) as caught,
        ):
            client.models.list()
        assert caught.value.code == "invalid_api_key"

    def test_what_is_not_supported_is_a_bad_request(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.BadRequestError, match="logit_bias is not supported") as caught:
            client.chat.completions.create(model="production", messages=MESSAGES, logit_bias={"1": 5})
        assert caught.value.param == "logit_bias"

    def test_too_many_requests_are_a_rate_limit_error(self, settings: Settings, artifacts: Artifacts) -> None:
        settings = settings.model_copy(update={"rate_burst": 1, "rate_per_minute": 1})
        with start_app(settings, artifacts) as live, serve(live.app) as address:
            key = live.callers.client["Authorization"].removeprefix("Bearer ")
            with openai.OpenAI(api_key=key, base_url=f"{address}/v1", max_retries=0) as client:
                client.models.list()
                with pytest.raises(openai.RateLimitError) as caught:
                    client.models.list()
        assert caught.value.code == "rate_limited"
        assert 0 < int(caught.value.response.headers["Retry-After"]) <= 60

    def test_another_model_is_not_found(self, client: openai.OpenAI) -> None:
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(model="gpt-4", messages=MESSAGES)
        assert caught.value.code == "model_not_found"
