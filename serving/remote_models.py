"""Which weights a remote engine serves: names made of digests, adapters loaded while it runs, and a check by scores.

A name alone proves nothing, so before a version takes over, the engine's log-probabilities of a few replies are
compared with those of the artifact itself, computed here.
"""

from __future__ import annotations

import threading
from collections import Counter
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Self

from data.vocabulary import Message
from serving.artifact import Artifact, load_artifact
from serving.engine import CTranslate2Engine
from serving.errors import EngineUnavailable
from serving.handle import ModelHandle
from serving.prompt import PromptRenderer
from serving.remote import EngineClient, RemoteEngine

ADAPTER_FOLDER = "adapter"  # of an artifact that was trained with `lora:R`
_NAME_LETTERS = 16  # of a digest
_TOLERANCE_NATS = 0.1  # mean over tokens; bfloat16 rounds to about a hundredth
_CHECKED: tuple[tuple[list[Message], str], ...] = tuple(
    ([{"role": "user", "content": question}], answer)
    for question, answer in (
        ("I cannot sleep.", "That sounds exhausting. What keeps you awake at night?"),
        ("I had a fight with my mother again.", "I am sorry to hear that. Would you like to tell me what happened?"),
        ("Nothing I do at work is good enough.", "It is hard to feel that way. Small steps can help you to see more."),
    )
)


def name_model(digest: str) -> str:
    """The name under which a remote engine has to serve the artifact with this digest."""
    return f"ratchet-{digest[:_NAME_LETTERS]}"


class RemoteModels:
    """Loads versions on a remote engine; may be used from many threads. `load` is a `LoadHandle`."""

    def __init__(self, client: EngineClient, artifacts_there: str = "") -> None:
        """`artifacts_there` is the folder of the artifacts as the server sees it; empty: the same as here."""
        self._client = client
        self._artifacts_there = artifacts_there
        self._lock = threading.Lock()
        self._users: Counter[str] = Counter()  # engines of each name that are not closed
        self._unused: set[str] = set()  # adapters that no request of this process needs any more
        self._expected: dict[str, tuple[list[list[float]], int]] = {}  # by digest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def load(self, folder: Path, version: int, _compute_type: str, threads: int) -> ModelHandle:
        """The version as the remote engine serves it, loaded there if it is an adapter, and verified.

        Raises:
            ArtifactInvalid: the folder is not a whole artifact.
            EngineUnavailable: the engine does not answer, has other weights, or must be restarted with these.
        """
        self._find(load_artifact(folder, verify=False), self._client.list_models())  # before any file is read
        artifact = load_artifact(folder)
        name = self._ensure_served(artifact)
        renderer = PromptRenderer(artifact)
        expected, end_id = self._score_here(artifact, renderer, threads)
        engine = RemoteEngine(
            self._client,
            name,
            end_id,
            renderer.list_ids,
            restore=lambda: self._ensure_served(artifact),
            on_close=lambda: self._set_aside(name),
        )
        self._compare(engine, renderer, expected)
        with self._lock:
            self._users[name] += 1
        return ModelHandle(version, artifact.digest, folder, renderer, engine)

    def _find(self, artifact: Artifact, served: list[str]) -> bool:
        """Whether the artifact is served already; raises EngineUnavailable when it cannot be without a restart."""
        name = name_model(artifact.digest)
        if name in served:
            return True
        base = name_model(str(artifact.manifest.get("base_digest")))
        if (artifact.folder / ADAPTER_FOLDER).is_dir() and base in served:
            return False
        raise EngineUnavailable(
            f"The engine at {self._client.url} serves {', '.join(served) or 'nothing'}; restart it with "
            f"`--model {self._locate(artifact.folder)} --served-model-name {name}`"
        )

    def _ensure_served(self, artifact: Artifact) -> str:
        """The name that the artifact is served under; an adapter is loaded if need be.

        Adapters that nothing here uses any more are unloaded at that time, not earlier: another process, which may be
        some seconds behind, still asks for the last one.
        """
        name = name_model(artifact.digest)
        with self._lock:
            self._unused.discard(name)
            if self._find(artifact, self._client.list_models()):
                return name
            body = {"lora_name": name, "lora_path": self._locate(artifact.folder / ADAPTER_FOLDER)}
            complaint = self._client.post_quietly("/v1/load_lora_adapter", body)
            if name not in self._client.list_models():  # a complaint that it is there already is none
                raise EngineUnavailable(
                    f"The engine at {self._client.url} does not load adapters ({complaint}); start it with "
                    "`--enable-lora` and VLLM_ALLOW_RUNTIME_LORA_UPDATING=True, at a rank that is high enough."
                )
            while self._unused:
                self._client.post_quietly("/v1/unload_lora_adapter", {"lora_name": self._unused.pop()})
        return name

    def _locate(self, folder: Path) -> str:
        """A folder of an artifact, by the path that the server knows it by."""
        folder = folder.absolute()
        if not self._artifacts_there:
            return str(folder)
        parts = folder.parts[-2:] if folder.name == ADAPTER_FOLDER else folder.parts[-1:]
        return str(PurePosixPath(self._artifacts_there, *parts))

    def _set_aside(self, name: str) -> None:
        with self._lock:
            self._users[name] -= 1
            if not self._users[name]:
                self._unused.add(name)

    def _score_here(self, artifact: Artifact, renderer: PromptRenderer, threads: int) -> tuple[list[list[float]], int]:
        """What the artifact itself says of the checked replies, and the id of its end token; computed once."""
        if artifact.digest not in self._expected:
            engine = CTranslate2Engine(artifact.engine_folder, intra_threads=threads, inter_threads=1)
            try:
                self._expected[artifact.digest] = engine.score(*_build_checked(renderer)), engine.end_id
            finally:
                engine.close()
        return self._expected[artifact.digest]

    def _compare(self, engine: RemoteEngine, renderer: PromptRenderer, expected: list[list[float]]) -> None:
        """Raises EngineUnavailable when what the server calls by this name are other weights."""
        found = engine.score(*_build_checked(renderer))
        distances = [
            abs(there - here)
            for row_there, row_here in zip(found, expected, strict=True)
            for there, here in zip(row_there, row_here, strict=True)
        ]
        mean = sum(distances) / len(distances)
        if not mean <= _TOLERANCE_NATS:  # so that NaN fails too
            raise EngineUnavailable(
                f"What the engine at {self._client.url} serves as {engine.model} are other weights (log-probabilities "
                f"{mean:.2f} nats apart); restart it with the artifact of that digest"
            )


def _build_checked(renderer: PromptRenderer) -> tuple[list[list[str]], list[list[str]]]:
    prompts = [renderer.render(messages) for messages, _ in _CHECKED]
    replies = [renderer.tokenize_reply(messages, answer) for messages, answer in _CHECKED]
    return prompts, replies
