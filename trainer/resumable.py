"""What makes a trainer of TRL resumable: small sealed checkpoints, and an order of rows that seed and epoch decide.

HF's length-grouped sampler draws from the global random state, so an epoch that is taken up in its middle would come
in another order; ours does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from datasets import Dataset, load_from_disk
from torch.utils.data import RandomSampler, Sampler
from transformers import Trainer
from transformers.trainer_pt_utils import LengthGroupedSampler, get_length_grouped_indices

from trainer.checkpoints import WEIGHTS, save_weights
from trainer.processes import count_processes, get_rank


def share_rows(rows: list[dict[str, Any]], arguments: dict[str, Any]) -> Dataset:
    """A data set of these rows; of several processes the main one saves it in the output folder for all.

    TRL hands reference log-probabilities over through a file beside the data set, so it must be the same for all.
    """
    dataset = Dataset.from_list(rows)
    if count_processes() == 1:
        return dataset
    folder = Path(arguments["output_dir"]) / "rows"
    if get_rank() == 0:
        dataset.save_to_disk(folder)
    PartialState().wait_for_everyone()
    return load_from_disk(folder)


class EpochOrder(Sampler[int]):
    """Indices of all rows, in an order drawn from seed and epoch; where there are lengths, like beside like."""

    def __init__(self, trainer: Trainer, rows: int, lengths: list[int] | None) -> None:
        self._trainer, self._rows, self._lengths = trainer, rows, lengths

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[int]:
        arguments = self._trainer.args
        epoch = int(self._trainer.state.epoch or 0)  # whole epochs that are done, also in a run taken up again
        generator = torch.Generator().manual_seed(arguments.seed + epoch)
        if self._lengths is None:
            return iter(torch.randperm(self._rows, generator=generator).tolist())
        rows_a_step = (
            arguments.per_device_train_batch_size * arguments.gradient_accumulation_steps * arguments.world_size
        )
        return iter(get_length_grouped_indices(self._lengths, rows_a_step, generator=generator))


class Resumable(Trainer):
    """To be named before a trainer of TRL among the bases.

    `on_saved` gets the folder of each save and its step, in the main process only, once all processes have written.
    """

    on_saved: Callable[[Path, int], None] | None = None

    def _get_train_sampler(self, *arguments: Any, **named: Any) -> Any:
        sampler = super()._get_train_sampler(*arguments, **named)
        if isinstance(sampler, LengthGroupedSampler):
            return EpochOrder(self, len(sampler), sampler.lengths)
        if isinstance(sampler, RandomSampler):
            return EpochOrder(self, len(sampler), None)
        return sampler

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:  # noqa: ARG002
        """The trained parameters alone: the rest is the base, and HF would write the tokenizer and a pickle too.

        HF calls this in every process and leaves it to the method who writes.
        """
        if not self.args.should_save:
            return
        folder = Path(output_dir or str(self.args.output_dir))
        folder.mkdir(parents=True, exist_ok=True)
        assert self.model is not None  # it was trained
        save_weights(self.model, folder / WEIGHTS)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        if self.state.global_step >= self.state.max_steps:
            return  # HF saves at the end as well, but then the stage is sealed at once
        Trainer._save_checkpoint(self, model, trial)  # TRL's would add a model card
        self.accelerator.wait_for_everyone()
        if self.args.should_save and self.on_saved:
            step = self.state.global_step
            self.on_saved(Path(str(self.args.output_dir)) / f"checkpoint-{step}", step)
        self.accelerator.wait_for_everyone()
