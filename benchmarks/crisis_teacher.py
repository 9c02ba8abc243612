"""The teacher of the crisis classifier's encoder: MiniLM, fine-tuned to tell a crisis from other messages.

all-MiniLM-L6-v2 (22 million weights, Apache-2.0) is too large and too slow to stand before every message, but it knows
what words mean. What it says of many texts is what the small encoder learns (`crisis_student.py`). Used by
`crisis_classifier.py`; needs torch and transformers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn
from transformers import AutoModel, AutoTokenizer

from benchmarks.crisis_sources import Row
from data.crisis_encoder import CRISIS_CATEGORIES, POOLED_LENGTH

EPOCHS = 3
RATE = 1e-4
HEAD_SPEED = 20  # times the rate of the rest: the head starts from nothing
WARM_UP = 60  # steps
BATCH = 32
SORTED = 512  # rows among which those of one length come into one batch
CATEGORY_SHARE = 0.2  # of the categories in the loss
Drawn = Mapping[str, tuple[int | None, float]]  # texts of each source in an epoch (None: all), their weight in the loss
DRAWN: Drawn = {
    "messages": (None, 1.0),
    "messages_none": (None, 1.0),
    "own": (1000, 0.7),
    "own_none": (1000, 0.7),
    "goemotions": (900, 0.5),
    "chitchat": (300, 0.5),
    "counsel_chat": (700, 0.5),
    "samples": (1200, 1.0),
}

Weighed = tuple[str, int, float]  # text, label, weight in the loss


class Teacher(nn.Module):
    """The encoder's mean over all pieces, at a fixed length, under a linear head."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.encoder = AutoModel.from_pretrained(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.head = nn.Linear(self.encoder.config.hidden_size, 1 + len(CRISIS_CATEGORIES))
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        # The meanings of the words stay those of the large corpus: a few thousand texts would only blur them.
        self.encoder.embeddings.requires_grad_(False)

    def forward(self, texts: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (of a crisis, then of each category), and the vectors under them."""
        batch = self.tokenizer(list(texts), padding=True, truncation=True, max_length=72, return_tensors="pt")
        states = self.encoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).last_hidden_state
        mask = batch["attention_mask"][:, :, None].float()
        pooled = F.normalize((states.float() * mask).sum(1) / mask.sum(1), dim=-1) * POOLED_LENGTH
        return self.head(F.dropout(pooled, 0.1, self.training)).float(), pooled


def plan_batches(rows: Sequence[Any], choose: random.Random) -> list[list[Any]]:
    """The rows in batches of texts of about one length, so that little is padded."""
    batches: list[list[Any]] = []
    for start in range(0, len(rows), SORTED):
        chunk = sorted(rows[start : start + SORTED], key=lambda row: len(row[0]))
        cut = [chunk[at : at + BATCH] for at in range(0, len(chunk), BATCH)]
        choose.shuffle(cut)
        batches += cut
    return batches


def measure_loss(logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Whether it is a crisis, and of the crises which."""
    is_crisis = labels > 0
    loss = (F.binary_cross_entropy_with_logits(logits[:, 0], is_crisis.float(), reduction="none") * weights).mean()
    if is_crisis.any():
        loss = loss + CATEGORY_SHARE * F.cross_entropy(logits[is_crisis, 1:], labels[is_crisis] - 1)
    return loss


def train_teacher(rows: Sequence[Row], folder: Path, seed: int) -> Teacher:
    """The encoder of `folder`, fine-tuned on the rows."""
    teacher = Teacher(folder)
    tune(teacher, rows, seed, EPOCHS, RATE, DRAWN)
    return teacher


def tune(teacher: Teacher, rows: Sequence[Row], seed: int, epochs: int, rate: float, drawn: Drawn) -> None:
    """So many epochs of what is drawn of the rows."""
    torch.manual_seed(seed)
    choose = random.Random(seed)
    batches = [batch for _ in range(epochs) for batch in plan_batches(draw_rows(rows, choose, drawn), choose)]
    groups = [
        {"params": [part for part in teacher.encoder.parameters() if part.requires_grad], "lr": rate},
        {"params": teacher.head.parameters(), "lr": HEAD_SPEED * rate},
    ]
    learn(teacher, groups, batches, WARM_UP, lambda batch: _judge(teacher, batch))


def draw_rows(rows: Sequence[Row], choose: random.Random, drawn: Drawn) -> list[Weighed]:
    """The rows of one epoch, shuffled."""
    chosen: list[Weighed] = []
    for source, (count, weight) in drawn.items():
        found = [(text, label, weight) for text, label, name in rows if name == source]
        chosen += found if count is None else choose.sample(found, min(count, len(found)))
    choose.shuffle(chosen)
    return chosen


def learn(
    model: nn.Module,
    groups: list[dict[str, Any]],
    batches: list[list[Any]],
    warm_up: int,
    judge: Callable[[list[Any]], torch.Tensor],
) -> None:
    """One step of AdamW for each batch: a warm-up, then a rate that falls to a fiftieth."""
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warm_up, max(0.02, 1 - step / len(batches)))
    )
    model.train()
    total = 0.0
    for number, batch in enumerate(batches, 1):
        loss = judge(batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        total += float(loss.detach())
        if number % 100 == 0:
            print(f"{type(model).__name__}: step {number} of {len(batches)}, loss {total / 100:.3f}", flush=True)
            total = 0.0


def _judge(teacher: Teacher, batch: list[Weighed]) -> torch.Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits, _ = teacher([text for text, _, _ in batch])
    labels, weights = torch.tensor([row[1] for row in batch]), torch.tensor([row[2] for row in batch])
    return measure_loss(logits.float(), labels, weights)


def ask_teacher(teacher: Teacher, texts: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float16]]:
    """Logits and vectors of each text."""
    teacher.eval()
    order = np.argsort([len(text) for text in texts], kind="stable")
    logits = np.zeros((len(texts), 1 + len(CRISIS_CATEGORIES)), dtype=np.float32)
    vectors = np.zeros((len(texts), teacher.head.in_features), dtype=np.float16)
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        for start in range(0, len(order), 64):
            rows = order[start : start + 64]
            found, pooled = teacher([texts[row] for row in rows])
            logits[rows], vectors[rows] = found.float().numpy(), pooled.float().numpy()
    return logits, vectors
