"""Replies by a remote engine: any OpenAI-compatible server that takes and tells token ids, such as vLLM.

Prompts go to `/v1/completions` as token ids, so that the artifact's own template decides them, and replies come back
as token ids (`return_token_ids`), so that the rest of serving is the same as with the engine in this process. Stop
texts are left to the ticket, as there: when it has what it wants the connection is closed, and the server stops.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from serving.engine import FinishReason, Generation, OnToken, Sampling
from serving.errors import EngineUnavailable

_CONNECT_S = 5.0
_SHOWN_CHARACTERS = 200  # of what the server says of an error


class EngineClient:
    """HTTP to one server; may be used from many threads.

    Attributes:
        url: without `/v1`.
    """

    def __init__(self, url: str, key: str = "", timeout_s: float = 30.0) -> None:
        self.url = url.rstrip("/").removesuffix("/v1")
        self._timeout_s = timeout_s
        self._http = httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(timeout_s, connect=min(_CONNECT_S, timeout_s)),
            limits=httpx.Limits(max_connections=None),  # the scheduler bounds them
            trust_env=False,  # a neighbour: never through a proxy
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def list_models(self) -> list[str]:
        """Names under which the server serves anything, adapters too.

        Raises:
            EngineUnavailable: see `call`.
        """
        found = self.call("GET", "/v1/models")
        with self.reading():
            return [str(card["id"]) for card in found["data"]]

    def post_quietly(self, path: str, body: dict[str, Any]) -> str:
        """Ask for something; "" when it was done, else what the server says against it.

        Raises:
            EngineUnavailable: the server does not answer.
        """
        with self.reaching():
            response = self._http.post(path, json=body)
        return "" if response.is_success else _describe(response)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """The JSON object that the server answers with.

        Raises:
            ModelUnknown: it does not serve the model of the body.
            EngineUnavailable: it does not answer, or refuses.
        """
        with self.reaching():
            response = self._http.request(method, path, json=body)
        self._check(response)
        with self.reading():
            return dict(response.json())

    @contextmanager
    def stream(self, path: str, body: dict[str, Any]) -> Iterator[Iterator[dict[str, Any]]]:
        """The server-sent events of an answer as they come; leaving the body ends the request.

        Raises:
            ModelUnknown, EngineUnavailable: see `call`; also when the stream breaks.
        """
        with self.reaching(), self._http.stream("POST", path, json=body) as response:
            if not response.is_success:
                response.read()
            self._check(response)
            yield self._read_events(response)

    @contextmanager
    def reaching(self) -> Iterator[None]:
        """Faults of the network as ours."""
        try:
            yield
        except httpx.TimeoutException as error:
            raise EngineUnavailable(
                f"The engine at {self.url} said nothing for {self._timeout_s:g} s; see whether it is overloaded, "
                "or raise RATCHET_ENGINE_TIMEOUT_S."
            ) from error
        except httpx.TransportError as error:
            raise EngineUnavailable(f"The engine at {self.url} cannot be reached ({error}); start it.") from error

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Answers of another shape as ours."""
        try:
            yield
        except (ValueError, KeyError, TypeError, IndexError, AttributeError) as error:
            raise EngineUnavailable(
                f"The engine at {self.url} answers in a shape of its own ({error!r}); use an OpenAI-compatible server."
            ) from error

    def _read_events(self, response: httpx.Response) -> Iterator[dict[str, Any]]:
        for line in iter_event_lines(response):
            data = line.removeprefix("data:").strip() if line.startswith("data:") else ""
            if data == "[DONE]":
                return
            if data:
                with self.reading():
                    event = dict(json.loads(data))
                if "error" in event:
                    raise EngineUnavailable(
                        f"The engine at {self.url} failed: {str(event['error'])[:_SHOWN_CHARACTERS]}"
                    )
                yield event

    def _check(self, response: httpx.Response) -> None:
        if response.is_success:
            return
        kind = ModelUnknown if response.status_code == httpx.codes.NOT_FOUND else EngineUnavailable
        raise kind(f"The engine at {self.url} refuses: {_describe(response)}")


def iter_event_lines(response: httpx.Response) -> Iterator[str]:
    """Lines as the standard of server-sent events ends them; `httpx` would also split at U+2028, inside a text."""
    rest = ""
    for piece in response.iter_text():
        *lines, rest = (rest + piece).split("\n")
        yield from lines
    yield rest


class ModelUnknown(EngineUnavailable):
    """The remote engine does not serve this model now."""


@dataclass
class _Row:
    token_ids: list[int] = field(default_factory=list)
    reason: FinishReason | None = None


class RemoteEngine:
    """One model of a remote engine; see `Engine`.

    Attributes:
        model: its name there, which is made of the artifact's digest (`serving.remote_models`). Each event has to
            bear it, so what other weights wrote is never passed on.
    """

    def __init__(
        self,
        client: EngineClient,
        model: str,
        end_id: int,
        list_ids: Callable[[Sequence[str]], list[int]],
        restore: Callable[[], object] = lambda: None,
        on_close: Callable[[], object] = lambda: None,
    ) -> None:
        """`restore` brings a model back that the server has forgotten, as after a restart; `on_close` is told the
        end."""
        self.model = model
        self._client = client
        self._end_id = end_id
        self._list_ids = list_ids
        self._restore = restore
        self._on_close = on_close

    @property
    def end_id(self) -> int:
        """See `Engine`."""
        return self._end_id

    def generate(
        self, prompts: Sequence[list[str]], sampling: Sampling, on_token: OnToken | None = None
    ) -> list[Generation]:
        """See `Engine`.

        Raises:
            EngineUnavailable: the server is down, silent, stops amid a reply, or answers with another model.
        """
        body = {
            **self._build_body(prompts, sampling.max_tokens),
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "top_k": sampling.top_k or -1,  # else a default of the model's own
            "stop_token_ids": [self._end_id],
            "return_token_ids": True,
            "stream": True,
        }
        try:
            rows = self._stream(body, len(prompts), on_token)
        except ModelUnknown:  # before any token
            self._restore()
            rows = self._stream(body, len(prompts), on_token)
        return [self._build_generation(row, sampling.max_tokens) for row in rows]

    def score(self, prompts: Sequence[list[str]], replies: Sequence[list[str]]) -> list[list[float]]:
        """See `Engine`; asks for `prompt_logprobs`, or where the server has none for `echo` with `logprobs`.

        Raises:
            EngineUnavailable: as above, or the server tells neither.
        """
        rows = [prompt + reply for prompt, reply in zip(prompts, replies, strict=True)]
        body = self._build_body(rows, 1) | {"temperature": 0.0}
        for question in ({"prompt_logprobs": 0}, {"echo": True, "logprobs": 1}):
            try:
                answer = self._client.call("POST", "/v1/completions", body | question)
            except ModelUnknown:
                self._restore()
                answer = self._client.call("POST", "/v1/completions", body | question)
            self._check_model(answer)
            with self._client.reading():
                choices = sorted(answer["choices"], key=lambda choice: int(choice["index"]))
                scores = [_read_scores(choice, ids) for choice, ids in zip(choices, body["prompt"], strict=True)]
            if all(scores):
                return [row[len(prompt) :] for row, prompt in zip(scores, prompts, strict=True)]
        raise EngineUnavailable(
            f"The engine at {self._client.url} tells no log-probabilities of a prompt (prompt_logprobs, or echo with "
            "logprobs), so its weights cannot be verified; use one that does, such as vLLM."
        )

    def close(self) -> None:
        """See `Engine`; the weights are the server's."""
        self._on_close()

    def _build_body(self, rows: Sequence[list[str]], max_tokens: int) -> dict[str, Any]:
        return {"model": self.model, "prompt": [self._list_ids(row) for row in rows], "max_tokens": max_tokens}

    def _stream(self, body: dict[str, Any], count: int, on_token: OnToken | None) -> list[_Row]:
        rows = [_Row() for _ in range(count)]
        with self._client.stream("/v1/completions", body) as events:
            for event in events:
                self._check_model(event)
                for index, token_ids, reason in self._read_choices(event):
                    self._take(rows[index], index, token_ids, reason, on_token)
                if all(row.reason for row in rows):
                    return rows
        raise EngineUnavailable(f"The engine at {self._client.url} stopped amid a reply; send the request again.")

    def _check_model(self, event: dict[str, Any]) -> None:
        if event.get("model") != self.model:
            raise EngineUnavailable(
                f"The engine at {self._client.url} answers as {event.get('model')!r} instead of {self.model!r}; serve "
                "each artifact under the name that is made of its digest."
            )

    def _read_choices(self, event: dict[str, Any]) -> list[tuple[int, list[int], str | None]]:
        with self._client.reading():
            choices = [
                (int(choice["index"]), _read_token_ids(choice), choice.get("finish_reason"))
                for choice in event["choices"]
            ]
        return choices

    def _take(self, row: _Row, index: int, token_ids: list[int], reason: str | None, on_token: OnToken | None) -> None:
        for token_id in token_ids:
            if row.reason is None:
                self._take_token(row, index, token_id, on_token)
        if reason == "stop" and row.reason is None:  # a server that does not show its end token
            self._take_token(row, index, self._end_id, on_token)
        elif reason == "length" and row.reason is None:
            row.reason = "length"

    def _take_token(self, row: _Row, index: int, token_id: int, on_token: OnToken | None) -> None:
        must_end = on_token is not None and on_token(index, token_id)
        if token_id == self._end_id:
            row.reason = "stop"
            return
        row.token_ids.append(token_id)
        if must_end:
            row.reason = "cancelled"

    def _build_generation(self, row: _Row, max_tokens: int) -> Generation:
        """Raises EngineUnavailable for a reply that the server cut short by a limit of its own."""
        assert row.reason is not None
        if row.reason == "length" and len(row.token_ids) < max_tokens:
            raise EngineUnavailable(
                f"The engine at {self._client.url} ended a reply after {len(row.token_ids)} tokens of {max_tokens}; "
                "its window must not be smaller than the model's."
            )
        return Generation(row.token_ids, row.reason)


def _read_token_ids(choice: dict[str, Any]) -> list[int]:
    """A server that shows texts only is of no use: they cannot be turned back into the tokens that were drawn."""
    token_ids = choice.get("token_ids")
    if token_ids is None and (choice.get("text") or choice.get("finish_reason") is None):
        raise ValueError("no token_ids")
    return [int(token_id) for token_id in token_ids or ()]


def _read_scores(choice: dict[str, Any], ids: list[int]) -> list[float]:
    """Log-probability of each token of the prompt, 0 for the first; empty when the choice tells none."""
    if told := choice.get("prompt_logprobs"):
        pairs = list(zip(told, ids, strict=True))[1:]
        return [0.0, *(float(words[str(token_id)]["logprob"]) for words, token_id in pairs)]
    echoed = (choice.get("logprobs") or {}).get("token_logprobs") or []
    return [0.0, *(float(score) for score in echoed[1 : len(ids)])] if len(echoed) >= len(ids) else []


def _describe(response: httpx.Response) -> str:
    return f"{response.status_code} {response.text[:_SHOWN_CHARACTERS]}"
