"""The encoders of the crisis classifier: transformers in NumPy that read a window word by word, in order.

A small one reads every window, a large one those that it does not find harmless. `benchmarks/crisis_student.py` and
`benchmarks/crisis_large.py` make them, and docs/safety.md says of what. They need neither torch nor a tokenizer of
others.
"""

from __future__ import annotations

import io
import re
import unicodedata
import zipfile
import zlib
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from data.cleaning import clean_text
from data.errors import RatchetError

CRISIS_CATEGORIES = ("overdose", "self_harm", "suicide", "harm_to_others", "abuse", "eating_disorder")
ENCODER_FILE = Path(__file__).with_name("crisis_encoder.npz")
LARGE_ENCODER_FILE = Path(__file__).with_name("crisis_encoder_large.npz")
HEADS = 12
MAX_PIECES = 64  # of a window, begin and end among them; 30 words have about 40
LONGEST_WORD = 60  # letters that are looked at: cutting takes the square of them
POOLED_LENGTH = 8.0  # of the vector that the head reads
BATCH = 16  # windows that are read together: more is no faster, and takes more memory
LAYER_ARRAYS = ("attend", "merge", "widen", "narrow")  # the matrices of a layer, each with a scale a column and a bias

_UNKNOWN, _BEGIN, _END = "[UNK]", "[CLS]", "[SEP]"
_TINY = np.float32(1e-12)
_GELU = np.float32((2 / np.pi) ** 0.5)
_TOKEN = re.compile(r"[^\W_]+|[^\w\s]|_")
_ROOM = MAX_PIECES - 2  # for the pieces of a window
# What takes room and says little: the rest of an address, and of what is repeated ("-----", "hahaha").
_ADDRESS = re.compile(r"((?:[a-z][a-z0-9+.-]{1,15}://|www\.)[^\s/?#]{1,60})\S*")
_REPEATED = re.compile(r"(.{1,4}?)\1{3,}")
_TOO_LONG = re.compile(rf"([^\W_]{{{LONGEST_WORD}}})(?=[^\W_])")

Floats = NDArray[np.float32]
Pieces = dict[str, int]


class CrisisModelInvalid(RatchetError):
    """The weights of the crisis classifier are missing or damaged; restore data/crisis_*.npz."""


@dataclass(frozen=True, eq=False)
class EncoderLayer:
    """Attention and a feed-forward part, each added to what came in and then normalised."""

    matrices: dict[str, Floats]  # by LAYER_ARRAYS, [inputs, outputs]
    biases: dict[str, Floats]
    norms: tuple[Floats, Floats]  # gain and shift [2, width] after each part

    def apply(self, states: Floats, bias: Floats) -> Floats:
        """[windows, pieces, width] to the same; `bias` [heads, pieces, pieces] is added to the odds of attention."""
        windows, count, width = states.shape
        joint = self._multiply(states, "attend").reshape(windows, count, 3, HEADS, width // HEADS)
        queries, keys, values = joint.transpose(2, 0, 3, 1, 4)
        odds = queries @ keys.swapaxes(-1, -2) * np.float32((width // HEADS) ** -0.5) + bias
        odds = np.exp(odds - odds.max(axis=-1, keepdims=True))
        seen = (odds / odds.sum(axis=-1, keepdims=True)) @ values
        merged = self._multiply(seen.swapaxes(1, 2).reshape(states.shape), "merge")
        states = normalise(states + merged, self.norms[0])
        wide = self._multiply(states, "widen")
        wide *= np.float32(0.5) + np.float32(0.5) * np.tanh(_GELU * (wide + np.float32(0.044715) * wide * wide * wide))
        return normalise(states + self._multiply(wide, "narrow"), self.norms[1])

    def _multiply(self, states: Floats, name: str) -> Floats:
        flat = states.reshape(-1, states.shape[-1])  # one product of matrices, however many windows
        product: Floats = flat @ self.matrices[name] + self.biases[name]
        return product.reshape(*states.shape[:-1], -1)


@dataclass(frozen=True, eq=False)
class CrisisEncoder:
    """Embeddings, layers and the head: log-odds of a crisis, and a logit of each category."""

    pieces: Pieces
    embeddings: NDArray[np.int8]  # [pieces, width]
    embedding_scales: Floats  # [pieces]
    positions: Floats  # [MAX_PIECES, width]
    distance_bias: Floats  # [heads, 2 MAX_PIECES - 1]: of a piece MAX_PIECES - 1 before this one to one as far behind
    norm: Floats
    layers: tuple[EncoderLayer, ...]
    head: Floats  # [width, 1 + categories]
    head_bias: Floats

    def judge(self, windows: Sequence[str]) -> list[tuple[float, str]]:
        """Of each window the log-odds that it signals a crisis, and the category that it would be.

        Windows of as many pieces are read together, which takes half the time of one by one.
        """
        numbers = [list_pieces(window, self.pieces) for window in windows]
        by_length: defaultdict[int, list[int]] = defaultdict(list)
        for position, pieces in enumerate(numbers):
            by_length[len(pieces)].append(position)
        logits = np.empty((len(windows), len(self.head_bias)), dtype=np.float32)
        for positions in by_length.values():
            for start in range(0, len(positions), BATCH):
                batch = positions[start : start + BATCH]
                logits[batch] = self._read(np.array([numbers[position] for position in batch]))
        return [(float(row[0]), CRISIS_CATEGORIES[int(row[1:].argmax())]) for row in logits]

    def cut(self, window: str) -> list[str]:
        """Overlapping parts of a window that has more pieces than `judge` reads; none of one that it reads whole.

        Together they hold all of it but for the rest of an address and of what is repeated. Whatever stands behind a
        pasted address, a rule of dashes or a row of emoji would go unread without them. What has no spaces and many
        pieces is read by itself, so that it does not drown the words around it.
        """
        letters = _fold(window)
        if _count_pieces(letters, self.pieces) <= _ROOM and not _TOO_LONG.search(letters):
            return []
        words = _shorten(letters).split()
        large = [word for word in words if _count_pieces(word, self.pieces) > _ROOM // 2]
        rest = " ".join(word for word in words if word not in large)
        return [part for text in (rest, *large) for part in _cut_parts(_TOO_LONG.sub(r"\1 ", text), self.pieces)]

    def _read(self, numbers: NDArray[np.int64]) -> Floats:
        """Piece numbers [windows, pieces] to logits [windows, 1 + categories]."""
        vectors = self.embeddings[numbers] * self.embedding_scales[numbers][..., None]
        states = normalise(vectors + self.positions[: numbers.shape[1]], self.norm)
        places = np.arange(numbers.shape[1])
        bias = self.distance_bias[:, places - places[:, None] + MAX_PIECES - 1]
        for layer in self.layers:
            states = layer.apply(states, bias)
        pooled = states.mean(axis=1)
        lengths = np.sqrt((pooled * pooled).sum(axis=1, keepdims=True) + _TINY)
        logits: Floats = pooled * (np.float32(POOLED_LENGTH) / lengths) @ self.head + self.head_bias
        return logits


def normalise(states: Floats, gain_and_shift: Floats) -> Floats:
    """Each row with mean 0 and variance 1, then gain and shift."""
    centred = states - states.mean(axis=-1, keepdims=True)
    scale = np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + _TINY)
    result: Floats = centred / scale * gain_and_shift[0] + gain_and_shift[1]
    return result


def list_pieces(window: str, pieces: Pieces) -> list[int]:
    """The numbers of the word pieces, without case and accents, with begin and end; at most MAX_PIECES.

    A word is cut into the longest pieces that are known, from its start on (WordPiece: Schuster & Nakajima, ICASSP
    2012); a word that cannot be cut so is unknown.
    """
    numbers: list[int] = []
    for word in _TOKEN.finditer(_fold(window)):
        numbers += _cut_word(word[0], pieces)
        if len(numbers) >= _ROOM:
            break
    return [pieces[_BEGIN], *numbers[:_ROOM], pieces[_END]]


def _fold(window: str) -> str:
    """Without case and accents."""
    plain = unicodedata.normalize("NFD", clean_text(window).casefold().replace("\u2019", "'"))
    return "".join(letter for letter in plain if unicodedata.category(letter) != "Mn")


def _shorten(letters: str) -> str:
    return _REPEATED.sub(r"\1\1\1", _ADDRESS.sub(r"\1", letters))


def _count_pieces(letters: str, pieces: Pieces) -> int:
    return sum(len(_cut_word(word, pieces)) for word in _TOKEN.findall(letters))


def _cut_parts(letters: str, pieces: Pieces) -> list[str]:
    """`letters` in parts that fit, each of which begins in the middle of the one before."""
    words = list(_TOKEN.finditer(letters))
    totals = [0, *accumulate(len(_cut_word(word[0], pieces)) for word in words)]
    parts, start, end = [], 0, 0
    while end < len(words):
        end = bisect_right(totals, totals[start] + _ROOM) - 1
        parts.append(letters[words[start].start() : words[end - 1].end()])
        start = max(start + 1, bisect_left(totals, totals[end] - _ROOM // 2))
    return parts


def _cut_word(word: str, pieces: Pieces) -> list[int]:
    word = word[:LONGEST_WORD]
    numbers, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        end = next((end for end in range(len(word), start, -1) if mark + word[start:end] in pieces), 0)
        if not end:
            return [pieces[_UNKNOWN]]
        numbers.append(pieces[mark + word[start:end]])
        start = end
    return numbers


@cache
def load_crisis_encoder(file: Path = ENCODER_FILE) -> CrisisEncoder:
    """A committed encoder, the small one unless told otherwise.

    Raises:
        CrisisModelInvalid: the file is missing, damaged, or of another shape.
    """
    try:
        return _build(read_arrays(file))
    except (ValueError, KeyError) as error:
        raise CrisisModelInvalid from error


def read_arrays(file: Path) -> dict[str, NDArray[np.generic]]:
    """The arrays of a file of weights. Raises CrisisModelInvalid where it is missing or damaged."""
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise CrisisModelInvalid from error


def _build(arrays: dict[str, NDArray[np.generic]]) -> CrisisEncoder:
    """The encoder of its arrays. Raises ValueError where their shapes do not fit, KeyError where one is missing."""
    names = arrays["pieces"].tobytes().decode().split("\n")
    width = arrays["embeddings"].shape[1]
    count = int(arrays["layers"])
    # The small encoder knows places by `positions` alone.
    arrays = {"distance_bias": np.zeros((HEADS, 2 * MAX_PIECES - 1), dtype=np.float16), **arrays}
    outputs = {"attend": 3 * width, "merge": width, "widen": arrays["widen_0"].shape[1], "narrow": width}
    expected = {
        "embeddings": (len(names), width),
        "embedding_scales": (len(names),),
        "positions": (MAX_PIECES, width),
        "distance_bias": (HEADS, 2 * MAX_PIECES - 1),
        "norm": (2, width),
        "head": (width, 1 + len(CRISIS_CATEGORIES)),
        "head_bias": (1 + len(CRISIS_CATEGORIES),),
    }
    for number in range(count):
        for name in LAYER_ARRAYS:
            expected[f"{name}_{number}"] = (outputs["widen"] if name == "narrow" else width, outputs[name])
            expected[f"{name}_scale_{number}"] = expected[f"{name}_bias_{number}"] = (outputs[name],)
        expected[f"norms_{number}"] = (2, 2, width)
    wrong = [name for name, shape in expected.items() if arrays[name].shape != shape]
    if wrong or width % HEADS or not {_UNKNOWN, _BEGIN, _END} <= set(names):
        raise ValueError(f"Arrays of another shape: {wrong}")
    plain = {name: arrays[name].astype(np.float32) for name in expected if arrays[name].ndim == 1}
    layers = tuple(
        EncoderLayer(
            {name: _scale(arrays[f"{name}_{number}"], plain[f"{name}_scale_{number}"]) for name in LAYER_ARRAYS},
            {name: plain[f"{name}_bias_{number}"] for name in LAYER_ARRAYS},
            tuple(arrays[f"norms_{number}"].astype(np.float32)),
        )
        for number in range(count)
    )
    tables = {name: arrays[name].astype(np.float32) for name in ("positions", "distance_bias", "norm", "head")}
    encoder = CrisisEncoder(
        pieces={name: number for number, name in enumerate(names)},
        embeddings=arrays["embeddings"].astype(np.int8),
        embedding_scales=plain["embedding_scales"],
        layers=layers,
        head_bias=plain["head_bias"],
        **tables,
    )
    loose = [*plain.values(), *tables.values(), *(part for layer in layers for part in layer.norms)]
    matrices = [matrix for layer in layers for matrix in layer.matrices.values()]
    if not all(np.isfinite(values).all() for values in loose + matrices):
        raise ValueError("Weights that are no numbers would let every message pass.")
    return encoder


def _scale(weights: NDArray[np.generic], scales: Floats) -> Floats:
    """A matrix of whole numbers times a scale a column.

    Row by row in memory: the other order makes a message half as expensive again. Turned while the weights are small.
    """
    result: Floats = np.multiply(np.ascontiguousarray(weights), scales, dtype=np.float32)
    return result
