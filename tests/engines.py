"""An engine that tests can stop at a chosen token."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from serving.engine import CTranslate2Engine, Generation, OnToken, Sampling

GENEROUS_S = 60  # how long a test waits for an event that always comes


class GatedEngine:
    """The real engine, which stops before it hands on its token number `pause_at` until `gate` is set."""

    def __init__(self, engine: CTranslate2Engine, pause_at: int = 0) -> None:
        self.engine = engine
        self.end_id = engine.end_id
        self.gate = threading.Event()
        self.paused = threading.Semaphore(0)  # one permit for each batch that has come to the gate
        self.batch_rows: list[int] = []
        self._pause_at = pause_at

    def generate(
        self, prompts: Sequence[list[str]], sampling: Sampling, on_token: OnToken | None = None
    ) -> list[Generation]:
        """See `Engine`."""
        assert on_token is not None
        self.batch_rows.append(len(prompts))
        seen_tokens = 0

        def pass_gate(row: int, token_id: int) -> bool:
            nonlocal seen_tokens
            if seen_tokens == self._pause_at:
                self.paused.release()
                assert self.gate.wait(GENEROUS_S)
            seen_tokens += 1
            return on_token(row, token_id)

        return self.engine.generate(prompts, sampling, pass_gate)

    def score(self, prompts: Sequence[list[str]], replies: Sequence[list[str]]) -> list[list[float]]:
        """See `Engine`."""
        return self.engine.score(prompts, replies)

    def close(self) -> None:
        """See `Engine`; the real engine belongs to the session and stays open."""

    def wait_paused(self) -> None:
        """Return when one more batch has come to the gate."""
        assert self.paused.acquire(timeout=GENEROUS_S)


class ScriptedEngine:
    """An engine that always says the same, token by token, whatever it is asked: a hostile checkpoint."""

    def __init__(self, engine: CTranslate2Engine, token_ids: Sequence[int]) -> None:
        self.end_id = engine.end_id
        self.prompts = 0  # how many it was asked
        self._engine = engine
        self._token_ids = list(token_ids)

    def generate(
        self, prompts: Sequence[list[str]], sampling: Sampling, on_token: OnToken | None = None
    ) -> list[Generation]:
        """See `Engine`."""
        assert on_token is not None
        self.prompts += len(prompts)
        for row in range(len(prompts)):
            for token_id in [*self._token_ids, self.end_id]:
                if on_token(row, token_id):
                    break
        return [Generation(self._token_ids, "stop") for _ in prompts]

    def score(self, prompts: Sequence[list[str]], replies: Sequence[list[str]]) -> list[list[float]]:
        """See `Engine`."""
        return self._engine.score(prompts, replies)

    def close(self) -> None:
        """See `Engine`."""
        self._engine.close()
