"""The rows that an engine of our own batching works on: a reply that grows, or a text whose tokens are scored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from queue import SimpleQueue
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from serving.engine import FinishReason, Generation, OnToken, Sampling

Logits = NDArray[np.float32]


class Row(Protocol):
    """A sequence of tokens that the model reads; its user changes nothing while the batch holds it."""

    call: Call
    token_ids: list[int]
    longest: int  # tokens that it may grow to

    def list_wanted(self, start: int, end: int) -> list[int]:
        """Places from `start` to before `end` in the row whose logits are wanted."""

    def take(self, logits: Logits) -> bool:
        """Use the logits [wanted, vocabulary] of the places that were asked for; True when the row has ended."""


class Call:
    """The rows of one question to the engine, which end together for whoever asks.

    The batch tells what comes; the asker's own thread does what is to be done with it, so that neither its time nor
    its errors are the batch's.

    Attributes:
        is_abandoned: nobody waits any more, so its rows are of no use.
    """

    def __init__(self) -> None:
        self.is_abandoned = False
        self._open_rows = 0
        self._news: SimpleQueue[Callable[[], object] | BaseException | None] = SimpleQueue()

    def add_row(self) -> None:
        """Count one more row that has to end."""
        self._open_rows += 1

    def tell(self, news: Callable[[], object]) -> None:
        """Have this done in the thread that waits, in order; called by the batch only."""
        self._news.put(news)

    def end_row(self) -> None:
        """Count a row as ended; called by the batch only."""
        self._open_rows -= 1
        if self._open_rows == 0:
            self._news.put(None)

    def fail(self, error: BaseException) -> None:
        """End all rows at once; the first error is the one that is told."""
        self._news.put(error)

    def wait(self) -> None:
        """Do what is told and return when no row is open, once. Raises the first error: the batch's, or one of what
        was done."""
        try:
            while (news := self._news.get()) is not None:
                if isinstance(news, BaseException):
                    raise news
                news()
        finally:
            self.is_abandoned = True


class ReplyRow:
    """A prompt and the reply that is generated; see `Engine.generate`."""

    def __init__(
        self,
        call: Call,
        prompt_ids: Sequence[int],
        sampling: Sampling,
        end_id: int,
        generator: np.random.Generator,
        on_token: OnToken | None,
        number: int,
    ) -> None:
        self.call = call
        self.token_ids = list(prompt_ids)
        self.longest = len(prompt_ids) + sampling.max_tokens
        self._prompt_tokens = len(prompt_ids)
        self._sampling = sampling
        self._end_id = end_id
        self._generator = generator
        self._on_token = on_token
        self._number = number
        self._reason: FinishReason | None = None
        self._cut: int | None = None  # where the asker ended the row; what the batch added since is none of it
        call.add_row()

    @property
    def generation(self) -> Generation:
        """What came of it, once the row has ended."""
        reason = self._reason if self._cut is None else "cancelled"
        assert reason is not None
        return Generation(self.token_ids[self._prompt_tokens : self._cut], reason)

    def list_wanted(self, start: int, end: int) -> list[int]:
        """See `Row`: the last token's, once everything is read."""
        return [end - 1] if start < end == len(self.token_ids) else []

    def take(self, logits: Logits) -> bool:
        """See `Row`."""
        if self._cut is not None:
            return True
        if not len(logits):
            return False
        token_id = draw(logits[0], self._sampling, self._generator)
        if token_id == self._end_id:
            self._reason = "stop"
        else:
            self.token_ids.append(token_id)
            self._reason = "length" if len(self.token_ids) == self.longest else None
        if self._on_token is not None:
            self.call.tell(partial(self._ask_asker, self._on_token, token_id, len(self.token_ids)))
        return self._reason is not None

    def _ask_asker(self, on_token: OnToken, token_id: int, length: int) -> None:
        """Tell the asker of the token that made the row so long; runs in the asker's thread."""
        if self._cut is None and on_token(self._number, token_id) and token_id != self._end_id:
            self._cut = length


class ScoreRow:
    """A prompt and a given reply; see `Engine.score`."""

    def __init__(self, call: Call, prompt_ids: Sequence[int], reply_ids: Sequence[int]) -> None:
        self.call = call
        self.token_ids = [*prompt_ids, *reply_ids]
        self.longest = len(self.token_ids)
        self.scores: list[float] = []
        self._first = len(prompt_ids)
        call.add_row()

    def list_wanted(self, start: int, end: int) -> list[int]:
        """See `Row`: the place before each token of the reply."""
        return list(range(max(start, self._first - 1), min(end, self.longest - 1)))

    def take(self, logits: Logits) -> bool:
        """See `Row`."""
        first = self._first + len(self.scores)
        for row, token_id in zip(logits, self.token_ids[first : first + len(logits)], strict=True):
            highest = row.max()
            self.scores.append(float(row[token_id] - highest - np.log(np.exp(row - highest).sum(dtype=np.float64))))
        return self._first + len(self.scores) == self.longest


def check_sampling(sampling: Sampling) -> None:
    """Raises ValueError for what cannot be drawn from."""
    if not 0 < sampling.top_p <= 1:
        raise ValueError(f"top_p is {sampling.top_p}; it has to be above 0 and at most 1.")
    if sampling.temperature < 0 or sampling.top_k < 0 or sampling.max_tokens < 1:
        raise ValueError(f"temperature, top_k and max_tokens must not be negative, the last not 0: {sampling}.")


def draw(logits: Logits, sampling: Sampling, generator: np.random.Generator) -> int:
    """One token from logits [vocabulary]: the likeliest at temperature 0, else as `Sampling` says."""
    if sampling.temperature == 0 or sampling.top_k == 1:
        return int(logits.argmax())
    ids = np.arange(len(logits))
    if 0 < sampling.top_k < len(logits):
        ids = np.argpartition(logits, -sampling.top_k)[-sampling.top_k :]
    scaled = logits[ids] / np.float32(sampling.temperature)
    weights = np.exp(scaled - scaled.max())
    if sampling.top_p < 1:
        ids, weights = _keep_nucleus(ids, weights, sampling.top_p)
    sums = weights.cumsum(dtype=np.float64)
    place = sums.searchsorted(generator.random() * sums[-1], side="right")
    return int(ids[min(int(place), len(ids) - 1)])


def _keep_nucleus(ids: NDArray[np.int64], weights: Logits, top_p: float) -> tuple[NDArray[np.int64], Logits]:
    """The fewest of the likeliest tokens that hold `top_p` of the mass."""
    order = np.argsort(-weights)
    sums = weights[order].cumsum(dtype=np.float64)
    kept = order[: int(sums.searchsorted(top_p * sums[-1])) + 1]
    return ids[kept], weights[kept]
