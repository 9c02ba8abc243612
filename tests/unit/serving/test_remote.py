"""Replies by a remote engine, over real HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import httpx
import pytest

from data.vocabulary import Message
from serving.artifact import Artifact
from serving.chat import ChatService
from serving.engine import CTranslate2Engine, Sampling
from serving.errors import EngineUnavailable
from serving.handle import ModelHandle
from serving.prompt import PromptRenderer
from serving.remote import EngineClient, RemoteEngine, iter_event_lines
from serving.scheduler import Scheduler
from serving.slot import ModelSlot
from tests.engines import GENEROUS_S
from tests.openai_server import OpenAIServer, run_openai_server

QUESTIONS: list[list[Message]] = [
    [{"role": "user", "content": text}] for text in ("I cannot sleep.", "My mother and I had a fight again last night.")
]
GREEDY = Sampling(max_tokens=12)
NAME = "the-model"


@pytest.fixture(scope="module")
def running(artifact: Artifact) -> Iterator[OpenAIServer]:
    with run_openai_server(artifact) as server:
        yield server


@pytest.fixture
def server(running: OpenAIServer, engine: CTranslate2Engine) -> Iterator[OpenAIServer]:
    """The server in good order."""
    running.models = {NAME: engine}
    yield running
    running.fault, running.scoring, running.shows_end = "", "prompt_logprobs", True
    running.requests.clear()
    running.left.clear()


@pytest.fixture
def client(server: OpenAIServer) -> Iterator[EngineClient]:
    client = EngineClient(server.url)
    yield client
    client.close()


@pytest.fixture
def build(engine: CTranslate2Engine, renderer: PromptRenderer, client: EngineClient) -> Callable[..., RemoteEngine]:
    def build(used: EngineClient = client, restore: Callable[[], object] = lambda: None) -> RemoteEngine:
        return RemoteEngine(used, NAME, engine.end_id, renderer.list_ids, restore)

    return build


@pytest.fixture
def prompts(renderer: PromptRenderer) -> list[list[str]]:
    return [renderer.render(messages) for messages in QUESTIONS]


class TestGenerate:
    @pytest.mark.parametrize("shows_end", [True, False])
    def test_says_what_the_same_weights_say_here(
        self,
        server: OpenAIServer,
        build: Callable[..., RemoteEngine],
        engine: CTranslate2Engine,
        prompts: list[list[str]],
        shows_end: bool,
    ) -> None:
        server.shows_end = shows_end
        heard: list[tuple[int, int]] = []
        expected: list[tuple[int, int]] = []
        found = build().generate(prompts, GREEDY, lambda row, token_id: bool(heard.append((row, token_id))))
        wanted = engine.generate(prompts, GREEDY, lambda row, token_id: bool(expected.append((row, token_id))))
        assert found == wanted
        assert sorted(heard) == sorted(expected)

    def test_sends_the_tokens_of_the_template_and_how_to_draw(
        self,
        server: OpenAIServer,
        build: Callable[..., RemoteEngine],
        prompts: list[list[str]],
        renderer: PromptRenderer,
    ) -> None:
        build().generate(prompts[:1], Sampling(max_tokens=3, temperature=0.7, top_p=0.9))
        [body] = server.requests
        assert body["prompt"] == [renderer.list_ids(prompts[0])]
        assert (body["max_tokens"], body["temperature"], body["top_p"], body["top_k"]) == (3, 0.7, 0.9, -1)

    def test_ends_the_request_when_nobody_wants_more(
        self, server: OpenAIServer, build: Callable[..., RemoteEngine], prompts: list[list[str]]
    ) -> None:
        server.fault = "endless"
        heard: list[int] = []
        [generation] = build().generate(
            prompts[:1], Sampling(max_tokens=200), lambda row, token_id: bool(heard.append(row)) or len(heard) == 3
        )
        assert (generation.finish_reason, len(generation.token_ids)) == ("cancelled", 3)
        assert server.left.wait(GENEROUS_S)

    @pytest.mark.parametrize(
        ("fault", "says"),
        [
            ("cut", "cannot be reached"),
            ("short", "stopped amid a reply"),
            ("error", "out of memory"),
            ("other", "answers as 'another'"),
            ("limit", "after 2 tokens of 12"),
            ("texts", "shape of its own"),
        ],
    )
    def test_names_what_is_wrong(
        self,
        server: OpenAIServer,
        build: Callable[..., RemoteEngine],
        prompts: list[list[str]],
        fault: str,
        says: str,
    ) -> None:
        server.fault = fault
        heard: list[int] = []
        with pytest.raises(EngineUnavailable, match=says):
            build().generate(prompts[:1], GREEDY, lambda row, token_id: bool(heard.append(token_id)))
        assert len(heard) == {"other": 0, "texts": 0}.get(fault, 2)  # not a token of other weights

    def test_gives_up_on_a_silent_server(
        self, server: OpenAIServer, build: Callable[..., RemoteEngine], prompts: list[list[str]]
    ) -> None:
        server.fault = "silent"
        client = EngineClient(server.url, timeout_s=0.2)
        with pytest.raises(EngineUnavailable, match=r"said nothing for 0\.2 s"):
            build(client).generate(prompts[:1], GREEDY)
        client.close()

    def test_gives_up_on_a_dead_server(self, build: Callable[..., RemoteEngine], prompts: list[list[str]]) -> None:
        client = EngineClient("http://127.0.0.1:1")
        with pytest.raises(EngineUnavailable, match=r"cannot be reached .* start it"):
            build(client).generate(prompts[:1], GREEDY)
        client.close()

    def test_brings_a_forgotten_model_back_once(
        self,
        server: OpenAIServer,
        build: Callable[..., RemoteEngine],
        engine: CTranslate2Engine,
        prompts: list[list[str]],
    ) -> None:
        server.models = {}
        remote = build(restore=lambda: server.models.update({NAME: engine}))
        assert remote.generate(prompts[:1], GREEDY)[0].token_ids
        server.models = {}
        with pytest.raises(EngineUnavailable, match="does not exist"):
            build().generate(prompts[:1], GREEDY)


def test_a_line_of_an_event_ends_at_a_line_feed_only() -> None:
    lines = ['data: {"text": "a\u2028b\x85c"}', "", "data: [DONE]"]
    assert list(iter_event_lines(httpx.Response(200, text="\n".join(lines)))) == lines


class TestScore:
    @pytest.mark.parametrize("scoring", ["prompt_logprobs", "echo"])
    def test_agrees_with_the_same_weights_here(
        self,
        server: OpenAIServer,
        build: Callable[..., RemoteEngine],
        engine: CTranslate2Engine,
        renderer: PromptRenderer,
        prompts: list[list[str]],
        scoring: str,
    ) -> None:
        server.scoring = scoring
        replies = [renderer.tokenize_reply(messages, "Tell me more.") for messages in QUESTIONS]
        for found, wanted in zip(build().score(prompts, replies), engine.score(prompts, replies), strict=True):
            assert found == pytest.approx(wanted, abs=1e-4)

    def test_refuses_a_server_that_tells_none(
        self, server: OpenAIServer, build: Callable[..., RemoteEngine], prompts: list[list[str]]
    ) -> None:
        server.scoring = ""
        with pytest.raises(EngineUnavailable, match="tells no log-probabilities"):
            build().score(prompts, prompts)

    def test_shows_no_scores_of_other_weights(
        self, server: OpenAIServer, build: Callable[..., RemoteEngine], prompts: list[list[str]]
    ) -> None:
        server.fault = "other"
        with pytest.raises(EngineUnavailable, match="answers as"):
            build().score(prompts, prompts)


class TestChat:
    @pytest.fixture
    def chat(
        self, build: Callable[..., RemoteEngine], artifact: Artifact, renderer: PromptRenderer
    ) -> Iterator[ChatService]:
        """A chat service whose every version is the remote model."""
        slot = ModelSlot(
            load=lambda folder, version, *_: ModelHandle(version, artifact.digest, folder, renderer, build())
        )
        slot.swap(artifact.folder, 1)
        scheduler = Scheduler(8, threads=4)
        yield ChatService(slot, scheduler, 64)
        scheduler.close()
        slot.close()

    def test_stops_at_a_stop_text(self, chat: ChatService, server: OpenAIServer) -> None:
        whole = "".join(chat.answer(QUESTIONS[0], Sampling(max_tokens=40)))
        stop = whole[6:9]
        reply = chat.answer(QUESTIONS[0], Sampling(max_tokens=40, stop=(stop,)))
        assert "".join(reply) == whole[: whole.index(stop)]
        assert reply.result.finish_reason == "stop"

    def test_fails_a_broken_reply_and_goes_on(self, chat: ChatService, server: OpenAIServer) -> None:
        server.fault = "cut"
        reply = chat.answer(QUESTIONS[0], GREEDY)
        with pytest.raises(EngineUnavailable):
            list(reply)
        server.fault = ""
        assert "".join(chat.answer(QUESTIONS[0], GREEDY))

    def test_lets_the_server_stop_when_a_reader_leaves(self, chat: ChatService, server: OpenAIServer) -> None:
        server.fault = "endless"
        reply = chat.answer(QUESTIONS[0], Sampling(max_tokens=64))
        next(iter(reply))
        reply.close()
        assert server.left.wait(GENEROUS_S)

    def test_answers_a_crisis_though_the_server_is_down(self, chat: ChatService, server: OpenAIServer) -> None:
        server.requests.clear()
        server.fault = "silent"
        reply = chat.answer([{"role": "user", "content": "I want to kill myself."}], GREEDY)
        assert reply.is_crisis
        assert "".join(reply)
        assert not server.requests
