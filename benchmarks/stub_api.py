"""The real API over an engine that answers at once, so that only what we add to a reply is left to measure.

    python -m benchmarks.stub_api

Settings as for `ratchet api`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from api.app import create_app
from api.server import serve
from serving.artifact import load_artifact
from serving.engine import Generation, OnToken, Sampling
from serving.handle import ModelHandle
from serving.prompt import PromptRenderer
from settings import get_settings

_END_ID = 0
_REPLY_IDS = list(range(100, 116))


class StubEngine:
    """Replies with the same 16 tokens to everything."""

    end_id = _END_ID

    def generate(self, prompts: Sequence[list[str]], _: Sampling, on_token: OnToken | None = None) -> list[Generation]:
        """See `Engine`."""
        if on_token:
            for row in range(len(prompts)):
                any(on_token(row, token_id) for token_id in (*_REPLY_IDS, _END_ID))
        return [Generation(_REPLY_IDS, "stop")] * len(prompts)

    def score(self, _: Sequence[list[str]], replies: Sequence[list[str]]) -> list[list[float]]:
        """See `Engine`."""
        return [[0.0] * len(reply) for reply in replies]

    def close(self) -> None:
        """See `Engine`."""


def load_stub(folder: Path, version: int, _compute_type: str, _threads: int) -> ModelHandle:
    """The artifact with its own tokenizer and template, and the stub in place of its weights."""
    artifact = load_artifact(folder)
    return ModelHandle(version, artifact.digest, folder, PromptRenderer(artifact), StubEngine())


if __name__ == "__main__":
    settings = get_settings()
    serve(create_app(settings, load=load_stub), settings)
