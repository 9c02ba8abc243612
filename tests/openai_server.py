"""A real HTTP server that speaks vLLM's side of the protocol, over engines of this process; tests can break it."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from serving.artifact import Artifact
from serving.engine import CTranslate2Engine, Generation, Sampling
from serving.prompt import PromptRenderer
from tests.unit.api.live import serve


@dataclass
class OpenAIServer:
    """What it serves, and how it misbehaves.

    Attributes:
        models: engines by the name that they are served under; adapters are added by the endpoint.
        fault: "" or "silent", "cut" (the connection breaks after two tokens), "short" (the stream just ends there),
            "error" (an error event), "other" (another model's name), "limit" (a window of two tokens), "texts" (and
            no ids), "endless" (until the client leaves).
        scoring: "prompt_logprobs", "echo" or "".
        has_adapters: whether adapters can be loaded while it runs.
    """

    renderer: PromptRenderer
    models: dict[str, CTranslate2Engine] = field(default_factory=dict)
    fault: str = ""
    scoring: str = "prompt_logprobs"
    has_adapters: bool = True
    shows_end: bool = True
    key: str = ""
    url: str = ""
    requests: list[dict[str, Any]] = field(default_factory=list)  # bodies of completions
    loads: list[tuple[str, str]] = field(default_factory=list)  # (name, path), path "" for an unload
    left: threading.Event = field(default_factory=threading.Event)  # a client closed a stream before its end
    wake: threading.Event = field(default_factory=threading.Event)  # ends a silence

    def build_app(self) -> FastAPI:
        """The endpoints."""
        app = FastAPI()
        app.get("/v1/models")(self.list_models)
        app.post("/v1/completions")(self.complete)
        app.post("/v1/load_lora_adapter")(self.load_adapter)
        app.post("/v1/unload_lora_adapter")(self.unload_adapter)
        return app

    def list_models(self, request: Request) -> Response:
        if self.key and request.headers.get("authorization") != f"Bearer {self.key}":
            return JSONResponse({"error": "Unauthorized"}, 401)
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in self.models]})

    def load_adapter(self, body: dict[str, str]) -> Response:
        if not self.has_adapters:
            return JSONResponse({"detail": "Not Found"}, 404)
        if body["lora_name"] in self.models:
            return JSONResponse({"error": "already loaded"}, 400)
        artifact = Path(body["lora_path"]).parent  # it has the weights to which the adapter was added
        self.models[body["lora_name"]] = CTranslate2Engine(artifact / "ctranslate2")
        self.loads.append((body["lora_name"], body["lora_path"]))
        return Response("Success")

    def unload_adapter(self, body: dict[str, str]) -> Response:
        self.loads.append((body["lora_name"], ""))
        return Response("Success") if self.models.pop(body["lora_name"], None) else Response("", 404)

    def complete(self, body: dict[str, Any]) -> Response:
        self.requests.append(body)
        if self.fault == "silent":
            self.wake.wait(60)
        engine = self.models.get(body["model"])
        if engine is None:
            return JSONResponse({"error": f"The model {body['model']} does not exist."}, 404)
        name = "another" if self.fault == "other" else body["model"]
        prompts = [self.renderer.list_tokens(ids) for ids in body["prompt"]]
        if not body.get("stream"):
            choices = [self._score(index, engine, prompt, body) for index, prompt in enumerate(prompts)]
            return JSONResponse({"model": name, "choices": choices})
        if self.fault == "endless":
            return StreamingResponse(self._stream_endlessly(name), media_type="text/event-stream")
        sampling = Sampling(body["max_tokens"], body["temperature"], body["top_p"], max(body["top_k"], 0))
        return StreamingResponse(self._stream(engine, prompts, sampling, name), media_type="text/event-stream")

    def _stream(
        self, engine: CTranslate2Engine, prompts: list[list[str]], sampling: Sampling, name: str
    ) -> Iterator[str]:
        generations = engine.generate(prompts, sampling)
        for step in range(sampling.max_tokens + 1):
            for index, generation in enumerate(generations):
                if choice := self._build_choice(index, generation, step, engine.end_id):
                    yield f"data: {json.dumps({'model': name, 'choices': [choice]})}\n\n"
            if step == 1 and self.fault == "cut":
                raise ConnectionResetError("as wanted")
            if step == 1 and self.fault == "error":
                yield 'data: {"error": {"message": "out of memory"}}\n\n'
            if step == 1 and self.fault in ("short", "error"):
                return
        yield "data: [DONE]\n\n"

    async def _stream_endlessly(self, name: str) -> AsyncIterator[str]:
        choice = {"index": 0, "text": "x", "token_ids": [100], "finish_reason": None}
        try:
            while True:
                yield f"data: {json.dumps({'model': name, 'choices': [choice]})}\n\n"
                await asyncio.sleep(0.01)
        finally:
            self.left.set()

    def _build_choice(self, index: int, generation: Generation, step: int, end_id: int) -> dict[str, Any] | None:
        token_ids, reason = generation.token_ids, str(generation.finish_reason)
        if self.fault == "limit":
            token_ids, reason = token_ids[:2], "length"
        is_last = step == (len(token_ids) if reason == "stop" else len(token_ids) - 1)
        if step > len(token_ids) or (step == len(token_ids) and not is_last):
            return None
        shown = token_ids[step : step + 1] or ([end_id] if self.shows_end else [])
        choice = {"index": index, "text": "some text", "finish_reason": reason if is_last else None}
        return choice if self.fault == "texts" else choice | {"token_ids": shown}

    def _score(self, index: int, engine: CTranslate2Engine, prompt: list[str], body: dict[str, Any]) -> dict[str, Any]:
        [scores] = engine.score([prompt[:1]], [prompt[1:]])
        choice: dict[str, Any] = {"index": index, "text": "", "finish_reason": "length"}
        if self.scoring == "prompt_logprobs" and "prompt_logprobs" in body:
            ids = body["prompt"][index][1:]
            words = [{str(token_id): {"logprob": score}} for token_id, score in zip(ids, scores, strict=True)]
            choice["prompt_logprobs"] = [None, *words]
        elif self.scoring == "echo" and body.get("echo"):
            choice["logprobs"] = {"token_logprobs": [None, *scores, -1.0]}
        return choice


@contextmanager
def run_openai_server(artifact: Artifact) -> Iterator[OpenAIServer]:
    """A server that reads tokens by the tokenizer of `artifact`, and serves nothing yet."""
    server = OpenAIServer(PromptRenderer(artifact))
    with serve(server.build_app()) as server.url:
        yield server
        server.wake.set()
