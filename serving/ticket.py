"""One request on its way through the scheduler: limits its tokens, cuts at stop strings, filters, feeds its reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from serving.engine import FinishReason, Sampling
from serving.feed import Completed, TextFeed
from serving.handle import ModelHandle
from serving.output_filter import OutputFilter

_MAX_SPREAD_TOKENS = 16  # between the prompts of one batch and its oldest, see `Ticket.can_join`


class StopCutter:
    """Passes text on up to the stop string that ends first; holds back an end that may become one.

    Where the text is cut does not depend on the pieces that it came in.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.is_found = False

    def push(self, text: str) -> str:
        """What of the text so far is safe to send."""
        text = self._held + text
        found = [(start + len(stop), start) for stop in self._stops if (start := text.find(stop)) >= 0]
        if found:
            self.is_found, self._held = True, ""
            return text[: min(found)[1]]
        safe = len(text) - max((_overlap(text, stop) for stop in self._stops), default=0)
        self._held = text[safe:]
        return text[:safe]

    def finish(self) -> str:
        """What was held back and did not become a stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that `stop` begins with."""
    return next((n for n in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:n])), 0)


class Ticket(TextFeed):
    """A request that was submitted; read it as a `TextFeed`.

    It holds a lease on its handle until the engine is done with its row, whether it is read or not.
    """

    def __init__(
        self,
        handle: ModelHandle,
        prompt_tokens: list[str],
        sampling: Sampling,
        discard: Callable[[Ticket], None] = lambda _: None,
        output_filter: OutputFilter | None = None,
    ) -> None:
        super().__init__()
        self.handle = handle
        self.prompt_tokens = prompt_tokens
        self.sampling = sampling
        self._discard = discard
        self._stream = handle.renderer.open_stream()
        self._cutter = StopCutter(sampling.stop)
        self._filter = output_filter  # None: everything passes, as in measurements
        self._sent: list[str] = []
        self._reply_tokens = 0

    def cancel(self) -> None:
        """Leave the queue, or end at the next token; idempotent, and without effect after the end."""
        self._is_abandoned = True
        self._discard(self)

    def can_join(self, oldest: Ticket) -> bool:
        """Whether both can share a batch: same weights, same sampling, prompts of about the same length.

        The engine reads prompts at once only up to the shortest of the batch, and the rest at the cost of a
        decoding step for each token: a prompt of 458 tokens beside one of 24 waited 19 s for its first token,
        alone 1.5 s.
        """
        return (
            self.handle is oldest.handle
            and _strip_limits(self.sampling) == _strip_limits(oldest.sampling)
            and abs(len(self.prompt_tokens) - len(oldest.prompt_tokens)) <= _MAX_SPREAD_TOKENS
        )

    def take_token(self, token_id: int) -> bool:
        """Pass one generated token on; True when the row has to end."""
        if self._is_abandoned:
            self.complete("cancelled")
        elif token_id == self.handle.engine.end_id:
            self.complete("stop")
        else:
            self._take_text_token(token_id)
        return self.has_ended

    def complete(self, finish_reason: FinishReason) -> None:
        """End the reply, sending what was held back unless it was cancelled; filtered is `content_filter`."""
        if finish_reason != "cancelled" and not self._cutter.is_found:
            self._send(self._cutter.push(self._stream.finish()))
            if not self._cutter.is_found:
                self._send(self._cutter.finish())
        if self._filter and finish_reason != "cancelled":
            self._pass_on(self._filter.finish())
            finish_reason = "content_filter" if self._filter.rules else finish_reason
        text, filtered = "".join(self._sent), tuple(self._filter.rules if self._filter else ())
        self.finish(Completed(text, finish_reason, len(self.prompt_tokens), self._reply_tokens, filtered))

    def _take_text_token(self, token_id: int) -> None:
        self._reply_tokens += 1
        self._send(self._cutter.push(self._stream.push(token_id)))
        if self._filter and self._filter.is_stopped:
            self.complete("content_filter")
        elif self._cutter.is_found:
            self.complete("stop")
        elif self._reply_tokens == self.sampling.max_tokens:
            self.complete("length")

    def _send(self, piece: str) -> None:
        self._pass_on(self._filter.push(piece) if self._filter and piece else piece)

    def _pass_on(self, piece: str) -> None:
        self._sent.append(piece)
        self.push(piece)


def _strip_limits(sampling: Sampling) -> Sampling:
    """Without what is enforced row by row."""
    return replace(sampling, max_tokens=1, stop=())
