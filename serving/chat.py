"""One chat request from messages to reply: the safety layer first, then the version that is current."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import dropwhile, takewhile

from data.crisis import CrisisSignal
from data.vocabulary import Message
from serving.engine import Sampling
from serving.feed import Completed, TextFeed
from serving.handle import ModelHandle
from serving.output_filter import OutputFilter
from serving.safety import SafetyLayer
from serving.scheduler import Scheduler
from serving.slot import ModelSlot
from serving.ticket import Ticket


@dataclass(frozen=True)
class Reply:
    """A reply on its way: `for piece in reply` in a thread, `async for piece in reply` in async code, once.

    Whoever stops reading early calls `close`, or the rest is generated for nobody (at most `max_tokens`). The
    weights are pinned until the reply has ended, read or not.
    """

    version: int  # 0 when nothing was loaded (crisis replies only)
    digest: str  # "" when nothing was loaded
    crisis: CrisisSignal | None  # what was answered with the resources, None for what the model answered
    prompt_tokens: int
    dropped_turns: int  # oldest turns that did not fit
    feed: TextFeed

    @property
    def is_crisis(self) -> bool:
        """Whether it is the fixed reply with the resources."""
        return self.crisis is not None

    @property
    def result(self) -> Completed:
        """How the reply ended; raises its error, or RuntimeError before the end."""
        return self.feed.result

    def close(self) -> None:
        """Stop generating, if it still does; idempotent."""
        if isinstance(self.feed, Ticket):
            self.feed.cancel()

    def __iter__(self) -> Iterator[str]:
        return iter(self.feed)

    def __aiter__(self) -> AsyncIterator[str]:
        return self.feed.__aiter__()


class ChatService:
    """Answers chat requests; may be used from many threads and from async code."""

    def __init__(
        self,
        slot: ModelSlot,
        scheduler: Scheduler,
        max_reply_tokens: int,
        max_prompt_tokens: int = 4096,
        safety: SafetyLayer | None = None,
    ) -> None:
        self._slot = slot
        self._scheduler = scheduler
        self._max_reply_tokens = max_reply_tokens
        self._max_prompt_tokens = max_prompt_tokens
        self._safety = safety or SafetyLayer()

    def answer(self, messages: Sequence[Message], sampling: Sampling, *, region: str = "") -> Reply:
        """Begin to answer; returns at once.

        `sampling.max_tokens` is cut to the service's limit and to half of the window: prompts need room. Of a
        conversation above the limit of prompts or the window the oldest turns are left out.
        A message that signals a crisis is always answered and raises none of these:

        Raises:
            ModelNotReady, PromptTooLong, InvalidPrompt, EngineOverloaded, EngineStopped
        """
        [reply] = self.answer_choices(messages, sampling, 1, region=region)
        return reply

    def answer_choices(
        self, messages: Sequence[Message], sampling: Sampling, count: int, *, region: str = ""
    ) -> list[Reply]:
        """Begin to answer `count` times with the same weights, all or none; else like `answer`."""
        if signal := self._safety.screen(_list_unanswered(messages)):
            return [self._answer_crisis(signal, region) for _ in range(count)]
        conversation = "\n".join(message["content"] for message in messages)
        with self._slot.lease() as handle:
            window_tokens = handle.renderer.window_tokens
            max_tokens = min(sampling.max_tokens, self._max_reply_tokens, window_tokens // 2)
            prompt = handle.renderer.fit(messages, min(window_tokens - max_tokens, self._max_prompt_tokens))
            sampling = replace(sampling, max_tokens=max_tokens)
            return [
                Reply(
                    version=handle.version,
                    digest=handle.digest,
                    crisis=None,
                    prompt_tokens=len(prompt.tokens),
                    dropped_turns=prompt.dropped_turns,
                    feed=ticket,
                )
                for ticket in self._submit(
                    handle,
                    prompt.tokens,
                    sampling,
                    [self._safety.build_filter(conversation, region) for _ in range(count)],
                )
            ]

    def _submit(
        self, handle: ModelHandle, prompt_tokens: list[str], sampling: Sampling, filters: list[OutputFilter]
    ) -> list[Ticket]:
        with ExitStack() as undo:
            tickets = []
            for output_filter in filters:
                tickets.append(self._scheduler.submit(handle, prompt_tokens, sampling, output_filter))
                undo.callback(tickets[-1].cancel)
            undo.pop_all()
        return tickets

    def _answer_crisis(self, signal: CrisisSignal, region: str) -> Reply:
        feed, current = TextFeed(), self._slot.current
        text = self._safety.build_crisis_reply(region, signal.category)
        feed.push(text)
        feed.finish(Completed(text, "stop", prompt_tokens=0, reply_tokens=0))
        return Reply(
            version=current.version if current else 0,
            digest=current.digest if current else "",
            crisis=signal,
            prompt_tokens=0,
            dropped_turns=0,
            feed=feed,
        )


def _list_unanswered(messages: Sequence[Message]) -> list[str]:
    """What the user wrote since the last answer, newest first (a reply begun at the end is skipped)."""
    turns = dropwhile(lambda message: message["role"] != "user", reversed(messages))
    unanswered = takewhile(lambda message: message["role"] != "assistant", turns)
    return [message["content"] for message in unanswered if message["role"] == "user"]
