"""Whose a text in the trunk's cache is: the rows of the snapshot that it was made of, read off a prepared data set."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from datasets import Dataset
from torch import nn
from transformers import Trainer

from trainer.rows import ROW_IDS
from trainer.trunk import find_trunk
from trainer.trunk_cache import pack_tokens

# Columns that TRL's trainers put together to one sequence: SFT; KTO and its KL rows; DPO; reward.
_SEQUENCES = (
    ("input_ids",),
    ("prompt_ids", "completion_ids"),
    ("prompt_ids", "KL_completion_ids"),
    ("prompt_ids", "chosen_ids"),
    ("prompt_ids", "rejected_ids"),
    ("chosen_ids",),
    ("rejected_ids",),
)


class NotesOwners(Trainer):
    """Put before a TRL trainer: tells the trunk of its model whose each text is, before any is computed."""

    def __init__(self, *, model: nn.Module, **named: Any) -> None:
        self._trunk = find_trunk(model)  # `super().__init__` prepares the data before it has a model
        super().__init__(model=model, **named)

    def _prepare_dataset(self, dataset: Any, processing_class: Any, args: Any, *arguments: Any, **named: Any) -> Any:
        prepared = super()._prepare_dataset(dataset, processing_class, args, *arguments, **named)  # type: ignore[misc]
        if self._trunk is not None:
            self._trunk.store.note(list_owners(prepared, args.max_length))
        return prepared


def list_owners(dataset: Dataset, max_length: int | None) -> dict[bytes, set[str]]:
    """The owners of each sequence that a trainer makes of a prepared data set, by packed token ids.

    A KL row of KTO puts one row's prompt before another's reply: it is owned by both, and by every row with that
    reply. What is not listed here, or has no ROW_IDS, does not outlive the run.
    """
    columns = set(dataset.column_names)
    if ROW_IDS not in columns:
        return {}
    used = [names for names in _SEQUENCES if columns.issuperset(names)]
    rows = dataset.select_columns([ROW_IDS, *{name for names in used for name in names} | columns & {"completion_ids"}])
    by_reply: defaultdict[bytes, set[str]] = defaultdict(set)
    if "KL_completion_ids" in columns:
        for row in rows:
            by_reply[pack_tokens(row["completion_ids"])].update(row[ROW_IDS])
    owners: defaultdict[bytes, set[str]] = defaultdict(set)
    for row in rows:
        for names in used:
            token_ids = [token_id for name in names for token_id in row[name]]
            found = owners[pack_tokens(token_ids[:max_length])]
            found.update(row[ROW_IDS])
            if "KL_completion_ids" in names:
                found.update(by_reply[pack_tokens(row["KL_completion_ids"])])
    return dict(owners)
