"""The API as a program whose engine breaks while a file `broken` is in its folder: `python -m tests.ui.moody_api`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from api.app import create_app
from api.server import serve
from serving.engine import Engine, Generation, OnToken, Sampling
from serving.handle import ModelHandle, load_handle
from settings import get_settings

BROKEN = "broken"


class MoodyEngine:
    """The real engine, which raises as a runtime does while `mark` exists; not when a swap tries it out."""

    def __init__(self, engine: Engine, mark: Path) -> None:
        self.end_id = engine.end_id
        self._engine = engine
        self._mark = mark

    def generate(
        self, prompts: Sequence[list[str]], sampling: Sampling, on_token: OnToken | None = None
    ) -> list[Generation]:
        """See `Engine`."""
        if on_token is not None and self._mark.exists():
            raise RuntimeError("the runtime has lost its threads")
        return self._engine.generate(prompts, sampling, on_token)

    def score(self, prompts: Sequence[list[str]], replies: Sequence[list[str]]) -> list[list[float]]:
        """See `Engine`."""
        return self._engine.score(prompts, replies)

    def close(self) -> None:
        """See `Engine`."""
        self._engine.close()


def main() -> None:
    """Serve until the process is told to end."""
    settings = get_settings()

    def load(folder: Path, version: int, compute_type: str, threads: int) -> ModelHandle:
        handle = load_handle(folder, version, compute_type, threads, "ctranslate2")
        return dataclasses.replace(handle, engine=MoodyEngine(handle.engine, settings.var / BROKEN))

    serve(create_app(settings, load=load), settings)


if __name__ == "__main__":
    main()
