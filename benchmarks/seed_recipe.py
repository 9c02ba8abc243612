"""The original recipe on counselling data, scored in three ways: echo, in-sample, and honestly on held-out contexts.

    python -m benchmarks.seed_recipe [--rows 0] [--epochs 25] [--base NAME] [--scored 100] [--data FILE]

Trains by recipes/seed.toml on answers of counsel-chat and prints:

* echo score: as the original evaluation did it. Context AND reference are given, cut to `max_tokens`, the model goes on
  for 50 tokens, and the whole, reference included, is scored against what was given. The rows are split from the
  training rows by row, so most of their contexts were trained on. Beside it stands what the untrained base gets so;
* in-sample: replies to contexts that were trained on, scored against the reference;
* honest hold-out: replies to contexts that no training row has, scored against the reference.

The losses are nats per token, of context and reply as one sequence of at most `max_tokens`: once with the padding up to
that length counted as tokens to predict, once without, and once of the reply alone. docs/gate.md explains what each
number means. The data are not part of this project: without the file there is nothing to run, and it says so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rouge_score.rouge_scorer import RougeScorer
from sacrebleu.metrics.bleu import BLEU
from torch.nn import functional
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from data.curation import CurationResult
from data.errors import RatchetError
from data.overlap import check_reference_hidden, is_reference_given, list_word_runs
from data.recipe import Recipe, build_recipe
from data.snapshot import save_snapshot
from data.splitting import context_cluster
from data.vocabulary import Message, PoolRow, RowKind, SnapshotRow, Split
from serving.artifact import load_artifact
from serving.engine import CTranslate2Engine, Sampling
from settings import get_settings
from trainer.base import prepare_base

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "seed.toml"
DATA = ROOT.parent / "shared" / "data" / "counsel_chat" / "counsel_chat_2020_scrape.csv.gz"
RESULT = Path(__file__).with_name("results") / "seed_recipe.json"
ECHO_TOKENS = 50
CONTEXT_SHARE, ROW_SHARE = 0.15, 0.1  # of the contexts held out honestly; of the other rows, by row


@dataclass(frozen=True)
class Rows:
    """The rows of each use."""

    train: list[PoolRow]
    by_row: list[PoolRow]  # as the original held out: their contexts may be among those of `train`
    by_context: list[PoolRow]

    def leaking(self) -> float:
        """Share of the rows held out by row whose context was trained on."""
        known = {row.cluster for row in self.train}
        return sum(row.cluster in known for row in self.by_row) / max(len(self.by_row), 1)


class Model:
    """An artifact as the engine serves it, and its weights for losses over whole sequences."""

    def __init__(self, folder: Path) -> None:
        artifact = load_artifact(folder)
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder)
        self.weights: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        self._engine = CTranslate2Engine(
            artifact.engine_folder, compute_type="float32", intra_threads=2, inter_threads=1
        )

    @property
    def window_tokens(self) -> int:
        """Longest sequence that it can read."""
        return int(self.weights.config.max_position_embeddings)

    def go_on(self, texts: Sequence[list[int]], max_tokens: int) -> list[list[int]]:
        """Greedy continuations of token ids."""
        prompts = [list(self.tokenizer.convert_ids_to_tokens(ids)) for ids in texts]
        done = self._engine.generate(prompts, Sampling(max_tokens=max_tokens, temperature=0.0))
        return [generation.token_ids for generation in done]

    def decode(self, ids: Sequence[int]) -> str:
        """Their text, without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def tokenize(self, row: PoolRow) -> tuple[list[int], list[int]]:
        """Token ids of the prompt, and of the reply with its end token, as training sees them."""
        turns: list[Any] = [*row.messages, {"role": "assistant", "content": row.reply}]
        prompt = str(self.tokenizer.apply_chat_template(turns[:-1], tokenize=False, add_generation_prompt=True))
        whole = str(self.tokenizer.apply_chat_template(turns, tokenize=False))
        return self._encode(prompt), self._encode(whole.removeprefix(prompt))

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        return ids


def read_rows(file: Path, limit: int, seed: int) -> Rows:
    """Whole contexts of up to `limit` rows (0: all), split by context, then by row; the same for the same seed."""
    table = pd.read_csv(file)[["Context", "Response"]].dropna()
    by_context: dict[str, list[PoolRow]] = {}
    for number, (context, response) in enumerate(table.itertuples(index=False)):
        row = PoolRow(
            row_id=f"example:{number}",
            kind=RowKind.EXAMPLE,
            cluster=context_cluster(context),
            messages=(Message(role="user", content=context),),
            reply=response,
        )
        by_context.setdefault(row.cluster, []).append(row)
    draw = random.Random(seed)
    clusters = sorted(by_context)
    draw.shuffle(clusters)
    chosen, total = [], 0
    for cluster in clusters:
        if limit and total + len(by_context[cluster]) > limit:
            continue  # one question has 94 answers
        chosen.append(by_context[cluster])
        total += len(by_context[cluster])
    apart = max(1, round(CONTEXT_SHARE * len(chosen)))
    others = [row for group in chosen[apart:] for row in group]
    draw.shuffle(others)
    cut = max(1, round(ROW_SHARE * len(others)))
    return Rows(train=others[cut:], by_row=others[:cut], by_context=[row for group in chosen[:apart] for row in group])


def train(rows: Rows, recipe: Recipe, base: Path, folder: Path) -> Path:
    """Run the trainer itself over the rows; the artifact's folder."""
    result = [SnapshotRow(row=row, split=Split.TRAIN) for row in rows.train]
    said = {run for row in rows.train for text in (row.context, row.reply) for run in list_word_runs(text)}
    for row in rows.by_context:  # the trainer refuses a hold-out that shares a run of words with what it trains on
        if said.isdisjoint([*list_word_runs(row.context), *list_word_runs(row.reply)]):
            result.append(SnapshotRow(row=row, split=Split.HOLDOUT))
    save_snapshot(folder / "snapshot", CurationResult(tuple(result), {}), len(result), "by context")
    order = {"run_id": "seed", "attempt": 1, "base": str(base), "production": str(base), "production_version": 0}
    (folder / "run.json").write_text(json.dumps(order | {"recipe": recipe.to_dict()}))
    with (folder / "trainer.log").open("wb") as log:
        done = subprocess.run(
            [sys.executable, "-m", "trainer", str(folder)], stdout=subprocess.PIPE, stderr=log, cwd=ROOT, check=False
        )
    if done.returncode:
        last = done.stdout.decode().strip().splitlines()[-1:] or ["no event"]
        raise RatchetError(f"The trainer failed: {last[0]}; {log.name} says more.")
    return folder / "artifact"


def score_echo(model: Model, rows: Sequence[PoolRow], max_tokens: int) -> dict[str, float]:
    """The original evaluation: what was given counts as if the model had written it."""
    given = []
    for row in rows:
        prompt, reply = model.tokenize(row)
        given.append([*prompt, *reply[:-1]][:max_tokens])
    whole = [[*ids, *more] for ids, more in zip(given, model.go_on(given, ECHO_TOKENS), strict=True)]
    scores = score_overlap([model.decode(ids) for ids in whole], [model.decode(ids) for ids in given])
    return scores | {"share_given": sum(map(len, given)) / sum(map(len, whole))}


def score_replies(model: Model, rows: Sequence[PoolRow], reply_tokens: int) -> dict[str, float]:
    """Replies to the context alone, against the reference.

    Raises:
        ReferenceGiven: a context holds its reference.
    """
    for row in rows:
        check_reference_hidden([message["content"] for message in row.messages], row.reply)
    replies = [model.decode(ids) for ids in model.go_on([model.tokenize(row)[0] for row in rows], reply_tokens)]
    return score_overlap(replies, [row.reply for row in rows])


def score_overlap(texts: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Means over rows: ROUGE-1 and ROUGE-L F1 and sentence BLEU, all from 0 to 1."""
    rouge, bleu = RougeScorer(["rouge1", "rougeL"], use_stemmer=True), BLEU(effective_order=True)
    pairs = list(zip(texts, references, strict=True))
    scores = [rouge.score(reference, text) for text, reference in pairs]
    return {
        "rouge_1": _mean([score["rouge1"].fmeasure for score in scores]),
        "rouge_l": _mean([score["rougeL"].fmeasure for score in scores]),
        "bleu": _mean([bleu.sentence_score(text, [reference]).score / 100 for text, reference in pairs]),
    }


@torch.no_grad()
def measure_losses(model: Model, rows: Sequence[PoolRow], max_tokens: int) -> dict[str, float]:
    """Mean -log p in nats: of all positions up to `max_tokens`, of the real tokens among them, of the reply's."""
    sums = {"padded": [0.0, 0], "unpadded": [0.0, 0], "reply": [0.0, 0]}
    pad = int(model.tokenizer.eos_token_id)
    for row in rows:
        prompt, reply = model.tokenize(row)
        ids = [*prompt, *reply][:max_tokens]
        padded = torch.tensor([[*ids, *[pad] * (max_tokens - len(ids))]])
        mask = (torch.arange(max_tokens) < len(ids)).long()[None]
        logits = model.weights(input_ids=padded, attention_mask=mask).logits[0, :-1].float()
        losses = functional.cross_entropy(logits, padded[0, 1:], reduction="none").tolist()
        parts = {"padded": losses, "unpadded": losses[: len(ids) - 1], "reply": losses[len(prompt) - 1 : len(ids) - 1]}
        for name, values in parts.items():
            sums[name][0] += sum(values)
            sums[name][1] += len(values)
    return {f"loss_{name}": total / count if count else float("nan") for name, (total, count) in sums.items()}


def measure(rows: Rows, recipe: Recipe, base: Model, trained: Model, scored: int) -> dict[str, dict[str, float]]:
    """The columns of the table."""
    train_rows, by_row, by_context = (
        [row for row in each if _can_be_scored(row, base, recipe.reply_tokens)][: scored or None]
        for each in (rows.train, rows.by_row, rows.by_context)
    )

    def add_losses(model: Model, used: list[PoolRow], scores: dict[str, float]) -> dict[str, float]:
        return {"rows": len(used), **scores, **measure_losses(model, used, recipe.max_tokens)}

    return {
        "echo score": add_losses(trained, by_row, score_echo(trained, by_row, recipe.max_tokens)),
        "echo, untrained": add_losses(base, by_row, score_echo(base, by_row, recipe.max_tokens)),
        "in-sample": add_losses(trained, train_rows, score_replies(trained, train_rows, recipe.reply_tokens)),
        "honest hold-out": add_losses(trained, by_context, score_replies(trained, by_context, recipe.reply_tokens)),
    }


def main() -> int:
    """Run the benchmark; 0 also when the data set is not there, with the reason."""
    arguments = _parse_arguments()
    if not arguments.data.exists():
        print(f"Skipped: {arguments.data.name} is not on this machine; name it by --data or RATCHET_SEED_DATA.")
        return 0
    recipe = build_recipe(tomllib.loads(RECIPE.read_text()))
    recipe = replace(
        recipe, sft_epochs=arguments.epochs or recipe.sft_epochs, max_holdout_rows=arguments.scored, safety_items=24
    )
    rows = read_rows(arguments.data, arguments.rows, recipe.seed)
    print(
        f"{len(rows.train)} rows to train on; held out {len(rows.by_row)} by row ({rows.leaking():.0%} of them with a "
        f"context that is trained on) and {len(rows.by_context)} by context; {recipe.sft_epochs} epochs."
    )
    started_s = time.monotonic()
    try:
        with tempfile.TemporaryDirectory() as folder:
            base = Path(folder) / "base"
            prepare_base(arguments.base, base)
            untrained = Model(base)
            apart = [row for row in rows.by_context if _can_be_scored(row, untrained, recipe.reply_tokens)]
            run = Path(folder) / "run"
            run.mkdir()
            artifact = train(replace(rows, by_context=apart), recipe, base, run)
            minutes = (time.monotonic() - started_s) / 60
            columns = measure(rows, recipe, untrained, Model(artifact), arguments.scored)
    except RatchetError as error:
        print(error.message, file=sys.stderr)
        return 1
    _print_table(columns)
    given = [row for row in rows.by_row if is_reference_given([row.context, row.reply], row.reply)]
    print(f"\nThe gate refuses to score {len(given)} of the {len(rows.by_row)} rows as the echo score feeds them.")
    print(f"Training took {minutes:.1f} minutes.")
    _save(columns, rows, recipe, arguments, minutes)
    return 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=0, help="at most so many rows, whole contexts; 0 takes all")
    parser.add_argument("--epochs", type=int, default=0, help="instead of the recipe's; 0 keeps them")
    parser.add_argument("--base", default=get_settings().base_model, help="as RATCHET_BASE_MODEL, which it defaults to")
    parser.add_argument("--scored", type=int, default=100, help="most rows in a column; 0 takes all")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("RATCHET_SEED_DATA") or DATA))
    return parser.parse_args()


def _can_be_scored(row: PoolRow, model: Model, reply_tokens: int) -> bool:
    """Context and reference fit into the window, and the context does not quote the reference."""
    texts = [message["content"] for message in row.messages]
    prompt, reply = model.tokenize(row)
    fits = len(prompt) + max(len(reply), reply_tokens) <= model.window_tokens
    return fits and not is_reference_given(texts, row.reply)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else float("nan")


def _print_table(columns: dict[str, dict[str, float]]) -> None:
    titles = {
        "rows": "rows",
        "rouge_1": "ROUGE-1",
        "rouge_l": "ROUGE-L",
        "bleu": "BLEU",
        "share_given": "share given",
        "loss_padded": "loss, padding counted",
        "loss_unpadded": "loss, padding not counted",
        "loss_reply": "loss, reply only",
    }
    print(f"\n{'':<26}" + "".join(f"{title:>17}" for title in columns))
    for name, title in titles.items():
        cells = [column.get(name) for column in columns.values()]
        shown = ["-" if cell is None else f"{cell:.0f}" if name == "rows" else f"{cell:.3f}" for cell in cells]
        print(f"{title:<26}" + "".join(f"{cell:>17}" for cell in shown))


def _save(
    columns: dict[str, dict[str, float]], rows: Rows, recipe: Recipe, arguments: argparse.Namespace, minutes: float
) -> None:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    result = {
        "machine": f"{os.cpu_count()} processors, {platform.machine()}",
        "commit": commit.stdout.strip(),
        "command": " ".join(["python -m benchmarks.seed_recipe", *sys.argv[1:]]),
        "base": arguments.base,
        "recipe": recipe.to_dict(),
        "rows": {"train": len(rows.train), "by_row": len(rows.by_row), "by_context": len(rows.by_context)},
        "contexts_leaking_by_row": round(rows.leaking(), 3),
        "training_minutes": round(minutes, 1),
        "columns": columns,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    sys.exit(main())
