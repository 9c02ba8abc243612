"""Chat as a client meets it: crisis first, one version for each whole reply, nothing left open."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from data.vocabulary import Message
from serving.chat import ChatService
from serving.engine import Sampling
from serving.errors import EngineOverloaded, ModelNotReady, PromptTooLong
from serving.handle import load_handle
from serving.safety import SafetyLayer
from serving.scheduler import Scheduler
from serving.slot import ModelSlot
from tests.engines import GENEROUS_S

GREEDY = Sampling(max_tokens=32)
CRISIS = "I want to kill myself."
TEXTS = tuple(f"Tell me fact number {number} about gardens." for number in range(8))
SWAPS = 20


def ask(*contents: str) -> list[Message]:
    """A conversation whose turns are the user's and the assistant's in alternation."""
    roles = ("user", "assistant")
    return [{"role": roles[index % 2], "content": content} for index, content in enumerate(contents)]


@dataclass(frozen=True)
class Stack:
    slot: ModelSlot
    scheduler: Scheduler
    chat: ChatService


@pytest.fixture
def stack() -> Iterator[Stack]:
    """Everything but a model."""
    slot, scheduler = ModelSlot(), Scheduler(queue_limit=64)
    yield Stack(slot, scheduler, ChatService(slot, scheduler, max_reply_tokens=64))
    scheduler.close()
    slot.close()


@pytest.fixture
def loaded(stack: Stack, artifact_folders: tuple[Path, Path]) -> Stack:
    """With version 1."""
    stack.slot.swap(artifact_folders[0], 1)
    return stack


class TestAnswer:
    def test_streams_the_reply_of_the_current_version(self, loaded: Stack) -> None:
        reply = loaded.chat.answer(ask("Hi"), GREEDY)
        with loaded.slot.lease() as handle:
            prompt = handle.renderer.render(ask("Hi"))
            [generation] = handle.engine.generate([prompt], GREEDY)
            expected = handle.renderer.decode(generation.token_ids)
        assert "".join(reply) == reply.result.text == expected
        assert (reply.version, reply.digest, reply.is_crisis) == (1, handle.digest, False)
        assert (reply.prompt_tokens, reply.dropped_turns) == (len(prompt), 0)

    def test_refuses_without_a_model(self, stack: Stack) -> None:
        with pytest.raises(ModelNotReady):
            stack.chat.answer(ask("Hi"), GREEDY)

    def test_drops_old_turns_that_do_not_fit(self, loaded: Stack) -> None:
        reply = loaded.chat.answer(ask("old " * 200, "reply", "new"), GREEDY)
        assert "".join(reply)
        assert reply.dropped_turns == 2

    def test_gives_the_lease_back_when_the_prompt_is_too_long(self, loaded: Stack) -> None:
        with pytest.raises(PromptTooLong):
            loaded.chat.answer(ask("We had soup for lunch and a walk by the lake. " * 30), GREEDY)
        assert loaded.slot.current is not None
        assert loaded.slot.current.leases == 0

    @pytest.mark.parametrize(("wanted", "given"), [(10, 10), (1000, 64)])
    def test_cuts_the_length_to_the_limit(self, loaded: Stack, wanted: int, given: int) -> None:
        reply = loaded.chat.answer(ask("Hi"), Sampling(max_tokens=wanted))
        list(reply)
        assert (reply.result.reply_tokens, reply.result.finish_reason) == (given, "length")

    def test_leaves_half_of_the_window_to_the_prompt(self, loaded: Stack) -> None:
        chat = ChatService(loaded.slot, loaded.scheduler, max_reply_tokens=4096)
        reply = chat.answer(ask("Hi"), Sampling(max_tokens=4096))
        list(reply)
        assert reply.result.reply_tokens == 128

    def test_streams_to_async_code(self, loaded: Stack) -> None:
        async def read() -> str:
            return "".join([piece async for piece in loaded.chat.answer(ask("Hi"), GREEDY)])

        assert asyncio.run(read()) == "".join(loaded.chat.answer(ask("Hi"), GREEDY))


class TestCrisis:
    def test_gets_the_resources_and_nothing_else(self, loaded: Stack) -> None:
        reply = loaded.chat.answer(ask(CRISIS), GREEDY, region="US")
        assert list(reply) == [SafetyLayer().build_crisis_reply("US", "suicide")]
        assert loaded.slot.current is not None
        assert (reply.version, reply.digest, reply.is_crisis) == (1, loaded.slot.current.digest, True)
        assert reply.result.finish_reason == "stop"
        reply.close()

    def test_is_answered_without_a_model(self, stack: Stack) -> None:
        reply = stack.chat.answer(ask(CRISIS), GREEDY)
        assert list(reply) == [SafetyLayer().build_crisis_reply(category="suicide")]
        assert (reply.version, reply.digest, reply.is_crisis) == (0, "", True)

    def test_is_answered_when_the_scheduler_is_closed(self, loaded: Stack) -> None:
        loaded.scheduler.close()
        assert list(loaded.chat.answer(ask(CRISIS), GREEDY)) == [SafetyLayer().build_crisis_reply(category="suicide")]

    @pytest.mark.parametrize(
        "messages",
        [
            [*ask(CRISIS), *ask("hello?")],
            [*ask(CRISIS), {"role": "system", "content": "Be kind."}],
            ask("Hi", "Hello", CRISIS, "Sure, here"),
        ],
    )
    def test_is_seen_in_every_turn_that_is_not_yet_answered(self, loaded: Stack, messages: list[Message]) -> None:
        assert loaded.chat.answer(messages, GREEDY).is_crisis

    def test_is_over_when_the_user_writes_on_after_the_answer(self, loaded: Stack) -> None:
        answered = ask(CRISIS, SafetyLayer().build_crisis_reply(category="suicide"), "I feel better.")
        reply = loaded.chat.answer(answered, GREEDY)
        assert not reply.is_crisis

    def test_words_of_the_system_are_none(self, loaded: Stack) -> None:
        messages: list[Message] = [{"role": "system", "content": CRISIS}, *ask("Hi")]
        assert not loaded.chat.answer(messages, GREEDY).is_crisis


class TestReply:
    @pytest.mark.parametrize("closes", [0, 1, 2])
    def test_one_that_nobody_reads_leaves_nothing_open(
        self, loaded: Stack, artifact_folders: tuple[Path, Path], closes: int
    ) -> None:
        reply = loaded.chat.answer(ask("Hi"), GREEDY)
        old = loaded.slot.current
        assert old is not None
        for _ in range(closes):
            reply.close()
        loaded.slot.swap(artifact_folders[1], 2)
        assert old.closed.wait(GENEROUS_S)
        assert old.leases == 0

    def test_many_abandoned_replies_leave_room_for_the_next(self, loaded: Stack) -> None:
        for _ in range(200):
            reply = loaded.chat.answer(ask("Hi"), GREEDY)
            next(iter(reply), None)
            reply.close()
        assert "".join(loaded.chat.answer(ask("Hi"), GREEDY))
        loaded.scheduler.close()
        assert loaded.slot.current is not None
        assert (loaded.scheduler.running, loaded.scheduler.waiting, loaded.slot.current.leases) == (0, 0, 0)


class TestSwapUnderLoad:
    def test_every_reply_is_whole_and_of_the_version_it_names(
        self, loaded: Stack, artifact_folders: tuple[Path, Path]
    ) -> None:
        expected: dict[tuple[str, str], str] = {}
        for folder in artifact_folders:
            handle = load_handle(folder, 0)
            prompts = [handle.renderer.render(ask(text)) for text in TEXTS]
            for text, generation in zip(TEXTS, handle.engine.generate(prompts, GREEDY), strict=True):
                expected[handle.digest, text] = handle.renderer.decode(generation.token_ids)
            handle.retire()
        assert len(set(expected.values())) == 2 * len(TEXTS)
        is_over = threading.Event()

        def chat_on(text: str) -> set[int]:
            """Versions that answered; at least one reply is begun after the last swap."""
            versions, is_last = set(), False
            while not is_last:
                is_last = is_over.is_set()
                reply = loaded.chat.answer(ask(text), GREEDY)
                assert "".join(reply) == expected[reply.digest, text]
                versions.add(reply.version)
            return versions

        with ThreadPoolExecutor(len(TEXTS)) as clients:
            answers = [clients.submit(chat_on, text) for text in TEXTS]
            retired = []
            for version in range(2, SWAPS + 2):
                retired.append(loaded.slot.current)
                loaded.slot.swap(artifact_folders[(version + 1) % 2], version)
            is_over.set()
            seen = [answer.result(GENEROUS_S) for answer in answers]
        assert all(SWAPS + 1 in versions for versions in seen)
        assert len(set.union(*seen)) > 2
        assert all(handle is not None and handle.closed.wait(GENEROUS_S) for handle in retired)

    def test_a_full_queue_is_refused_and_holds_no_lease(self, loaded: Stack) -> None:
        chat = ChatService(loaded.slot, Scheduler(queue_limit=0), max_reply_tokens=64)
        with pytest.raises(EngineOverloaded):
            chat.answer(ask("Hi"), GREEDY)
        assert loaded.slot.current is not None
        assert loaded.slot.current.leases == 0
