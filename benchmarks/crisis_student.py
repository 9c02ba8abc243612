"""The encoder of the crisis classifier, data/crisis_encoder.npz: it learns to say what the teacher says.

It starts as the layers of the teacher with the PIECES most frequent word pieces, and learns the labels, the
teacher's log-odds and the teacher's vectors; of texts with typing errors and without punctuation, too, and of comments
of which only the teacher says anything. The embeddings stay as they are. With two layers and half of their neurons it
was four times as fast, and missed far more of what unseen authors wrote (docs/log.md). Used by
`crisis_classifier.py`; needs torch and transformers.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from benchmarks.crisis_sources import Row, misspell
from benchmarks.crisis_teacher import Teacher, ask_teacher, learn, measure_loss, plan_batches
from data.crisis_encoder import HEADS, LAYER_ARRAYS, MAX_PIECES, POOLED_LENGTH, Pieces, list_pieces

PIECES = 7000  # of 30,522
LEVELS = 15  # of a weight on either side of zero: five bits
CLIPPED_AT = np.linspace(0.5, 1.0, 21)  # shares of the largest weight of a row at which it may be cut
EPOCHS = 1
RATE = 1e-4
HEAD_RATE = 3 * RATE
WARM_UP = 100  # steps
LOG_ODDS_SHARE, VECTOR_SHARE = 0.05, 0.05  # of squared differences to the teacher in the loss
UNLABELLED = -1
NEIGHBOURS = 8  # of a word, of which one may stand for it
REPLACED_SHARE = 0.25  # of the words
REPLACED_TEXTS = 1  # of each message
# Texts of each source in an epoch (None: all), and their weight in the loss.
DRAWN: dict[str, tuple[int | None, float]] = {
    "messages": (None, 1.0),
    "messages_none": (None, 1.0),
    "varied": (None, 1.0),
    "replaced": (None, 1.0),
    "own": (900, 0.5),
    "own_none": (600, 0.5),
    "goemotions": (1500, 0.7),
    "chitchat": (700, 0.7),
    "counsel_chat": (800, 0.7),
    "samples": (None, 1.0),
    "comments": (None, 0.7),
}

Lesson = tuple[
    str, int, float, NDArray[np.float32], NDArray[np.float16]
]  # text, label, weight, teacher's logits, vector
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")


class StudentLayer(nn.Module):
    """A layer of the teacher; `data.crisis_encoder.EncoderLayer` is the same in NumPy."""

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        attention, wide, narrow = original.attention, original.intermediate.dense, original.output.dense
        parts = [attention.self.query, attention.self.key, attention.self.value]
        self.attend = _make_linear(
            torch.cat([part.weight.data for part in parts]), torch.cat([part.bias.data for part in parts])
        )
        self.merge, self.after_merge = attention.output.dense, attention.output.LayerNorm
        self.widen, self.narrow = wide, narrow
        self.after_narrow = original.output.LayerNorm

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        rows, count, width = states.shape
        joint = self.attend(states).view(rows, count, 3, HEADS, width // HEADS).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(joint[0], joint[1], joint[2], attn_mask=mask)
        merged = self.merge(seen.transpose(1, 2).reshape(rows, count, width))
        states = self.after_merge(states + F.dropout(merged, 0.1, self.training))
        narrowed = self.narrow(F.gelu(self.widen(states), approximate="tanh"))
        return self.after_narrow(states + F.dropout(narrowed, 0.1, self.training))


class Student(nn.Module):
    """`data.crisis_encoder.CrisisEncoder` in torch."""

    def __init__(self, teacher: Teacher, pieces: Pieces) -> None:
        super().__init__()
        parts, vocabulary = teacher.encoder.embeddings, teacher.tokenizer.get_vocab()
        self.pieces = pieces
        self.embed = nn.Embedding.from_pretrained(
            parts.word_embeddings.weight.data[[vocabulary[name] for name in pieces]]
        )
        places = parts.position_embeddings.weight.data[:MAX_PIECES] + parts.token_type_embeddings.weight.data[0]
        self.register_buffer("places", places)
        self.norm = parts.LayerNorm.requires_grad_(True)
        self.layers = nn.ModuleList(StudentLayer(layer) for layer in teacher.encoder.encoder.layer)
        self.head = teacher.head

    def forward(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (of a crisis, then of each category), and the vectors under them."""
        numbers = [list_pieces(text, self.pieces) for text in texts]
        longest = max(len(found) for found in numbers)
        joined = torch.tensor([found + [self.pieces["[PAD]"]] * (longest - len(found)) for found in numbers])
        present = torch.tensor([[place < len(found) for place in range(longest)] for found in numbers])
        mask = torch.zeros(present.shape).masked_fill(~present, -1e9)[:, None, None, :]
        states = F.dropout(self.norm(self.embed(joined) + self.places[:longest]), 0.1, self.training)
        for layer in self.layers:
            states = layer(states, mask.to(states.dtype))
        share = present[:, :, None].float()
        pooled = F.normalize((states.float() * share).sum(1) / share.sum(1), dim=-1) * POOLED_LENGTH
        return self.head(F.dropout(pooled, 0.1, self.training)), pooled


def train_encoder(rows: Sequence[Row], comments: Sequence[str], teacher: Teacher, file: Path, seed: int) -> None:
    """Write the student of the teacher; the teacher's layers are changed by it."""
    choose = random.Random(seed)
    texts = [*rows, *vary(rows, choose), *((text, UNLABELLED, "comments") for text in comments)]
    pieces = choose_pieces([text for text, _, _ in texts], teacher.tokenizer.get_vocab())
    texts += replace_words(rows, list_neighbours(teacher, pieces), choose)
    logits, vectors = ask_teacher(teacher, [text for text, _, _ in texts])
    known = {source: [number for number, row in enumerate(texts) if row[2] == source] for source in DRAWN}
    batches: list[list[Lesson]] = []
    for _ in range(EPOCHS):
        lessons: list[Lesson] = []
        for source, (count, weight) in DRAWN.items():
            drawn = known[source] if count is None else choose.sample(known[source], min(count, len(known[source])))
            lessons += [(texts[at][0], texts[at][1], weight, logits[at], vectors[at]) for at in drawn]
        choose.shuffle(lessons)
        batches += plan_batches(lessons, choose)
    torch.manual_seed(seed)
    student = Student(teacher, pieces)
    heads = {id(part) for part in student.head.parameters()}
    groups = [
        {"params": [part for part in student.parameters() if part.requires_grad and id(part) not in heads], "lr": RATE},
        {"params": student.head.parameters(), "lr": HEAD_RATE},
    ]
    learn(student, groups, batches, WARM_UP, lambda batch: compare(student, batch))
    write_encoder(student, file)


def vary(rows: Sequence[Row], choose: random.Random) -> list[Row]:
    """Each message once more as it might be typed in haste, or with a sentence left out."""
    varied: list[Row] = []
    for text, label, source in rows:
        if not source.startswith("messages"):
            continue
        if choose.random() < 0.5:
            text = re.sub(r"['’.,!?]", "", text)
        if choose.random() < 0.6:
            text = misspell(text, choose)
        sentences = re.split(r"(?<=[.!?]) ", text)
        if len(sentences) > 2 and choose.random() < 0.25:
            sentences.pop(choose.randrange(len(sentences)))
        varied.append((" ".join(sentences), label, "varied"))
    return varied


def list_neighbours(teacher: Teacher, pieces: Pieces) -> dict[str, list[str]]:
    """Of each word that is one piece those nearest to it in the teacher's embeddings."""
    vocabulary = teacher.tokenizer.get_vocab()
    words = [name for name in pieces if re.fullmatch("[a-z]{3,}", name)]
    embeddings = teacher.encoder.embeddings.word_embeddings.weight.data[[vocabulary[word] for word in words]]
    directions = F.normalize(embeddings, dim=1)
    nearest = (directions @ directions.T).topk(NEIGHBOURS + 1, dim=1)[1][:, 1:]
    return {word: [words[at] for at in found] for word, found in zip(words, nearest.tolist(), strict=True)}


def replace_words(rows: Sequence[Row], neighbours: dict[str, list[str]], choose: random.Random) -> list[Row]:
    """Messages with some words replaced by neighbours: what they are now only the teacher says.

    Source: X. Jiao et al., "TinyBERT", EMNLP 2020, whose students needed such texts most where labels were few.
    """

    def replace(match: re.Match[str]) -> str:
        word = match[0].lower()
        replaceable = word in neighbours and choose.random() < REPLACED_SHARE
        return choose.choice(neighbours[word]) if replaceable else match[0]

    return [
        (re.sub("[A-Za-z]+", replace, text), UNLABELLED, "replaced")
        for text, _, source in rows
        if source.startswith("messages")
        for _ in range(REPLACED_TEXTS)
    ]


def choose_pieces(texts: Sequence[str], vocabulary: Pieces, most: int = PIECES) -> Pieces:
    """The most frequent pieces, and every letter and sign of a keyboard, so that each word can be cut."""
    counts = Counter(number for text in texts for number in list_pieces(text, vocabulary))
    names = {number: name for name, number in vocabulary.items()}
    signs = sorted(
        (name for name in vocabulary if re.fullmatch(r"(##)?[ -~]", name)), key=lambda name: vocabulary[name]
    )
    frequent = [names[number] for number, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]
    kept = list(dict.fromkeys([*_SPECIAL, *signs, *frequent]))[:most]
    return {name: number for number, name in enumerate(kept)}


def compare(student: Student, batch: list[Lesson]) -> torch.Tensor:
    """The loss: labels, and the differences to the teacher."""
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, pooled = student([lesson[0] for lesson in batch])
    labels, weights = torch.tensor([lesson[1] for lesson in batch]), torch.tensor([lesson[2] for lesson in batch])
    logits, vectors = (torch.tensor(np.stack([lesson[part] for lesson in batch])).float() for part in (3, 4))
    found, labelled = found.float(), labels != UNLABELLED
    truth = F.binary_cross_entropy_with_logits(found[:, 0], torch.sigmoid(logits[:, 0]), reduction="none")
    loss = ((truth + LOG_ODDS_SHARE * (found[:, 0] - logits[:, 0]) ** 2) * weights).mean()
    loss = loss + VECTOR_SHARE * ((pooled - vectors) ** 2).sum(1).mean()
    if labelled.any():
        share = labelled.float().mean()
        loss = loss + share * measure_loss(found[labelled], labels[labelled], weights[labelled])
    return loss


def write_encoder(student: Student, file: Path) -> None:
    """The student as `data.crisis_encoder` reads it."""
    write_state(student.state_dict(), student.pieces, len(student.layers), file)


def write_state(weights: Mapping[str, torch.Tensor], pieces: Pieces, layers: int, file: Path) -> None:
    """Weights named as in `Student`, perhaps with a `distance_bias`, as `data.crisis_encoder` reads them."""
    state = {name: values.detach().float().numpy() for name, values in weights.items()}
    embeddings, scales = quantise_rows(state["embed.weight"])
    arrays: dict[str, NDArray] = {
        "pieces": np.frombuffer("\n".join(pieces).encode(), dtype=np.uint8),
        "embeddings": embeddings,
        "embedding_scales": scales,
        "positions": state["places"].astype(np.float16),
        "norm": np.stack([state["norm.weight"], state["norm.bias"]]),
        "head": state["head.weight"].T,
        "head_bias": state["head.bias"],
        "layers": np.array(layers),
    }
    if "distance_bias" in state:
        arrays["distance_bias"] = state["distance_bias"].astype(np.float16)
    for number in range(layers):
        start = f"layers.{number}."
        for name in LAYER_ARRAYS:
            rows, scales = quantise_rows(state[f"{start}{name}.weight"])
            arrays[f"{name}_{number}"], arrays[f"{name}_scale_{number}"] = rows.T, scales
            arrays[f"{name}_bias_{number}"] = state[f"{start}{name}.bias"]
        norms = [
            [state[f"{start}{name}.{part}"] for part in ("weight", "bias")] for name in ("after_merge", "after_narrow")
        ]
        arrays[f"norms_{number}"] = np.array(norms)
    np.savez_compressed(file, **arrays)


def quantise_rows(values: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Each row as whole numbers up to LEVELS, and the scale that loses least (squared), which may cut the largest."""
    largest = np.abs(values).max(axis=1) + 1e-12
    scales, losses = largest / LEVELS, np.full(len(values), np.inf)
    for share in CLIPPED_AT:
        tried = largest * share / LEVELS
        lost = ((_round(values, tried) * tried[:, None] - values) ** 2).sum(axis=1)
        scales, losses = np.where(lost < losses, tried, scales), np.minimum(lost, losses)
    return _round(values, scales).astype(np.int8), scales.astype(np.float32)


def _round(values: NDArray[np.float32], scales: NDArray[np.floating]) -> NDArray[np.floating]:
    return np.clip(np.round(values / scales[:, None]), -LEVELS, LEVELS)


def _make_linear(weight: torch.Tensor, bias: torch.Tensor) -> nn.Linear:
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.weight.data, linear.bias.data = weight.clone(), bias.clone()
    return linear
