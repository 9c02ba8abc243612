"""A stage of training in a process that may take only so much more memory; a program, for the limit cannot be lifted.

python -m tests.scarce_memory BASE FOLDER ROWS LIMIT_MIB
"""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

import torch

from tests.lessons import WARM, build_recipe, load_model
from trainer.supervised import train_supervised


def build_rows(count: int) -> list[dict[str, Any]]:
    """So many rows of about fifty tokens."""
    prompt = [{"role": "user", "content": "I feel alone. " * 8}]
    return [
        {"prompt": prompt, "completion": [{"role": "assistant", "content": f"{number} {WARM * 3}"}]}
        for number in range(count)
    ]


def train(base: Path, folder: Path, rows: int) -> None:
    """One step over all rows at once, if they fit."""
    folder.mkdir(parents=True, exist_ok=True)
    model, tokenizer = load_model(base)
    recipe = build_recipe(trainable="full", batch_size=rows, max_tokens=200)
    train_supervised(model, tokenizer, build_rows(rows), [], recipe, folder)


def main() -> None:
    """Train a little first, so that what libraries take for themselves is not counted."""
    base, folder, rows, limit_mib = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    train(base, folder / "warm", 32)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit_bytes = pages * resource.getpagesize() + limit_mib * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))
    train(base, folder, rows)


if __name__ == "__main__":
    main()
