"""Text to tokens and back, exactly as in training: the artifact's own tokenizer and chat template."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, NoReturn, cast

from jinja2 import Template, TemplateError
from jinja2.ext import loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from tokenizers import Tokenizer

from data.cleaning import defuse_control_tokens
from data.vocabulary import Message
from serving.artifact import Artifact
from serving.errors import ArtifactInvalid, InvalidPrompt, PromptTooLong

_INCOMPLETE = "\ufffd"  # what the first bytes of a longer character decode to


@dataclass(frozen=True)
class FittedPrompt:
    """The tokens of a prompt that fits, and how many of the oldest turns were left out for it."""

    tokens: list[str]
    dropped_turns: int


class PromptRenderer:
    """Renders conversations for one artifact; may be used from many threads.

    Raises:
        ArtifactInvalid: tokenizer, chat template or window size is missing or cannot be read.
    """

    def __init__(self, artifact: Artifact) -> None:
        folder = artifact.folder
        try:
            config = json.loads((folder / "config.json").read_text())
            tokenizer_config = json.loads((folder / "tokenizer_config.json").read_text())
            self.window_tokens = int(config.get("max_position_embeddings") or config["n_positions"])
            self._tokenizer = Tokenizer.from_buffer((folder / "tokenizer.json").read_bytes())
            self._template = _compile_template(_read_template(folder, tokenizer_config))
        except (OSError, ValueError, KeyError, TypeError, AttributeError, TemplateError) as error:
            raise ArtifactInvalid(
                f"{folder} has no usable tokenizer or chat template ({error}); take another version."
            ) from error
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._special_tokens = _read_special_tokens(tokenizer_config)
        added = self._tokenizer.get_added_tokens_decoder().values()
        self._control_tokens = [token.content for token in added if token.special]

    def render(self, messages: Sequence[Message]) -> list[str]:
        """Tokens of the conversation up to the point where the assistant begins to speak.

        Raises:
            InvalidPrompt: the chat template refuses these messages.
        """
        return self._tokenize(messages, add_generation_prompt=True)

    def fit(self, messages: Sequence[Message], limit_tokens: int) -> FittedPrompt:
        """The prompt without as many of the oldest turns as it takes to stay within `limit_tokens`.

        System messages stay. A reply goes together with the turn that it answered.

        Raises:
            PromptTooLong: not even the last message fits.
        """
        tokens = self.render(messages)
        if len(tokens) <= limit_tokens:
            return FittedPrompt(tokens, dropped_turns=0)
        turns = [index for index, message in enumerate(messages) if message["role"] != "system"]
        starts = [index for index in turns[1:] if messages[index]["role"] == "user" or index == turns[-1]]
        first = bisect_left(
            starts, True, key=lambda start: len(self.render(_keep_from(messages, start))) <= limit_tokens
        )
        if first == len(starts):
            raise PromptTooLong
        start = starts[first]
        return FittedPrompt(self.render(_keep_from(messages, start)), dropped_turns=turns.index(start))

    def tokenize_reply(self, prompt_messages: Sequence[Message], reply: str) -> list[str]:
        """Tokens of `reply` after this prompt as training sees them, the end token included."""
        answered: list[Message] = [*prompt_messages, {"role": "assistant", "content": reply}]
        tokens = self._tokenize(answered, add_generation_prompt=False)
        tokens = tokens[_count_shared(tokens, self.render(prompt_messages)) :]
        end = self._special_tokens.get("eos_token")
        return tokens[: tokens.index(end) + 1] if end in tokens else tokens

    def list_ids(self, tokens: Sequence[str]) -> list[int]:
        """The ids of tokens that this renderer made."""
        return [cast(int, self._tokenizer.token_to_id(token)) for token in tokens]

    @property
    def end_id(self) -> int:
        """Id of the token that ends a reply.

        Raises:
            ArtifactInvalid: the tokenizer has none.
        """
        token_id = self._tokenizer.token_to_id(self._special_tokens.get("eos_token", ""))
        if token_id is None:
            raise ArtifactInvalid("The tokenizer has no token that ends a reply; take another version.")
        return token_id

    def list_tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokens with these ids."""
        return [cast(str, self._tokenizer.id_to_token(token_id)) for token_id in ids]

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of a whole reply, without special tokens, NUL and leading white space."""
        return self._decode(token_ids).lstrip()

    def open_stream(self) -> TextStream:
        """A stream that turns the tokens of one reply into text as they come."""
        return TextStream(self._decode)

    def _decode(self, token_ids: Sequence[int]) -> str:
        return self._tokenizer.decode(token_ids, skip_special_tokens=True).replace("\0", "")  # PostgreSQL takes none

    def _tokenize(self, messages: Sequence[Message], *, add_generation_prompt: bool) -> list[str]:
        try:
            text = self._template.render(
                messages=[self._defuse(message) for message in messages],
                add_generation_prompt=add_generation_prompt,
                **self._special_tokens,
            )
        except TemplateError as error:
            raise InvalidPrompt(f"The model's chat template refuses the conversation: {error}.") from error
        return self._tokenizer.encode(text, add_special_tokens=False).tokens

    def _defuse(self, message: Message) -> Message:
        return {"role": message["role"], "content": defuse_control_tokens(message["content"], self._control_tokens)}


class TextStream:
    """Detokenises one reply; all pieces together are `PromptRenderer.decode` of all its tokens."""

    def __init__(self, decode: Callable[[Sequence[int]], str]) -> None:
        self._decode = decode
        self._token_ids: list[int] = []
        self._context = 0  # decode from here, one piece early: some decoders trim the start of a text
        self._sent = 0  # the text of the tokens before this one was sent
        self._has_begun = False

    def push(self, token_id: int) -> str:
        """The new text that is safe to send: no half characters, no white space before the first word."""
        self._token_ids.append(token_id)
        text = self._decode(self._token_ids[self._context :])
        return "" if text.endswith(_INCOMPLETE) else self._send(text)

    def finish(self) -> str:
        """What was held back: the replacement characters of a reply that ends amid a character."""
        return self._send(self._decode(self._token_ids[self._context :]))

    def _send(self, text: str) -> str:
        piece = text[len(self._decode(self._token_ids[self._context : self._sent])) :]
        self._context, self._sent = self._sent, len(self._token_ids)
        if not self._has_begun:
            piece = piece.lstrip()
            self._has_begun = bool(piece)
        return piece


def _count_shared(left: list[str], right: list[str]) -> int:
    """How many tokens at the start of both are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(left, right, strict=False)))


def _keep_from(messages: Sequence[Message], start: int) -> list[Message]:
    """The system messages and everything from index `start` on."""
    return [m for index, m in enumerate(messages) if index >= start or m["role"] == "system"]


def _read_template(folder: Path, tokenizer_config: dict[str, Any]) -> str:
    file = folder / "chat_template.jinja"
    return file.read_text() if file.exists() else str(tokenizer_config["chat_template"])


def _read_special_tokens(tokenizer_config: dict[str, Any]) -> dict[str, str]:
    """`eos_token` and its like; older tokenizers write them as objects."""
    return {
        name: value["content"] if isinstance(value, dict) else str(value)
        for name, value in tokenizer_config.items()
        if name.endswith("_token") and value
    }


def _compile_template(source: str) -> Template:
    """Compiled with the options and helpers of transformers' `apply_chat_template`."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, extensions=[loopcontrols])
    environment.filters["tojson"] = _dump_json
    environment.globals["raise_exception"] = _raise_exception
    environment.globals["strftime_now"] = lambda pattern: datetime.now().astimezone().strftime(pattern)
    return environment.from_string(source)


def _raise_exception(message: str) -> NoReturn:
    raise TemplateError(message)


def _dump_json(value: Any, ensure_ascii: bool = False, **options: Any) -> str:
    """Jinja's own filter escapes HTML, which a prompt is not."""
    return json.dumps(value, ensure_ascii=ensure_ascii, **options)
