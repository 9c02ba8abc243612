"""Early stopping: the weights of the lowest dev loss are kept, and a stage ends that has stopped getting better."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from trainer.checkpoints import save_weights


class BestWeights(TrainerCallback):
    """Keeps the best weights in `file` and stops after `patience` evaluations in a row that were no better.

    All it knows stands in the log of the trainer's state, which a checkpoint holds: a run that goes on needs no more.
    """

    def __init__(self, patience: int, file: Path) -> None:
        self.patience, self.file = patience, file

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Judge the loss that has just been measured."""
        losses = [_order(record["eval_loss"]) for record in state.log_history if "eval_loss" in record]
        if not losses:
            return
        best = losses.index(min(losses))
        if best == len(losses) - 1:
            if args.should_save:
                save_weights(kwargs["model"], self.file)
        elif len(losses) - 1 - best >= self.patience:
            control.should_training_stop = True


def _order(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss
