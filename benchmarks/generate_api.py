"""Plain `generate` behind FastAPI, as a first version of a chat server is often written: one request after the other.

    python -m benchmarks.generate_api FOLDER PORT

Float32, greedy, streamed, in the shape of OpenAI's chat completions; whoever comes while a reply is written waits.
"""

from __future__ import annotations

import argparse
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from transformers import AutoModelForCausalLM, AutoTokenizer, TextIteratorStreamer


class Question(BaseModel):
    """What is asked; other members of the request are ignored."""

    messages: list[dict[str, str]]
    max_tokens: int


def create_app(folder: Path) -> FastAPI:
    """The server of the model in `folder`."""
    app, lock = FastAPI(), threading.Lock()
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)

    def write(question: Question) -> Iterator[str]:
        """The events of one reply."""
        prompt = tokenizer.apply_chat_template(
            question.messages, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        streamer = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
        options = {"max_new_tokens": question.max_tokens, "do_sample": False, "pad_token_id": tokenizer.pad_token_id}
        with lock:
            thread = threading.Thread(target=model.generate, kwargs={**prompt, **options, "streamer": streamer})
            thread.start()
            for text in filter(None, streamer):
                yield f"data: {json.dumps({'choices': [{'index': 0, 'delta': {'content': text}}]})}\n\n"
            thread.join()
        yield "data: [DONE]\n\n"

    @app.get("/health")
    def tell_health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/v1/chat/completions")
    def chat(question: Question) -> StreamingResponse:
        return StreamingResponse(write(question), media_type="text/event-stream")

    return app


def main() -> None:
    """Serve until the process is told to end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.generate_api", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    asked = parser.parse_args()
    uvicorn.run(create_app(asked.folder), host="127.0.0.1", port=asked.port, log_level="warning")


if __name__ == "__main__":
    main()
