"""Low-rank adapters (Hu et al. 2021, arXiv 2106.09685): `trainable = lora:R`.

Every linear layer of every block learns W + (alpha / R) B A with A of R × in and B of out × R; at the end the products
are added to the weights, so that the artifact is an ordinary one.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from peft import LoraConfig, LoraModel, PeftModel, get_peft_model
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D

ADAPTER_FOLDER = "adapter"
Trainable = PreTrainedModel | PeftModel  # what a stage trains
_REFERENCE = "ref"  # TRL's name
_ALPHA_PER_RANK = 2  # alpha / R


def find_rank(trainable: str) -> int | None:
    """R of a recipe's `lora:R`, or None for the other ways."""
    return int(trainable.removeprefix("lora:")) if trainable.startswith("lora:") else None


def add_adapters(model: PreTrainedModel, rank: int) -> PeftModel:
    """The model with adapters of zero effect; only they (and, in a reward model, the score) have gradients."""
    is_scorer = hasattr(model, "score")
    return get_peft_model(
        model,
        LoraConfig(
            r=rank,
            lora_alpha=_ALPHA_PER_RANK * rank,
            lora_dropout=0.0,
            target_modules="all-linear",  # the output head is left out
            fan_in_fan_out=any(isinstance(module, Conv1D) for module in model.modules()),
            task_type="SEQ_CLS" if is_scorer else "CAUSAL_LM",
            modules_to_save=["score"] if is_scorer else None,
        ),
    )


def forget_reference(model: Trainable) -> None:
    """Drop the copy of the adapters that a trainer of TRL made as its reference: the next one makes its own."""
    if isinstance(model, PeftModel) and _REFERENCE in model.peft_config:
        model.delete_adapter(_REFERENCE)


def merge_adapters(model: Trainable, folder: Path | None = None) -> PreTrainedModel:
    """The plain model with the adapters added to its weights; before that they are saved to `folder`, if one is named.

    The saved folder is what engines load that serve many adapters over one base. A model without adapters comes back
    as it is.
    """
    if not isinstance(model, PeftModel):
        return model
    if folder is not None:
        model.peft_config["default"].base_model_name_or_path = ""  # a path of this machine means nothing elsewhere
        model.save_pretrained(str(folder), selected_adapters=["default"])
    return cast(PreTrainedModel, cast(LoraModel, model.base_model).merge_and_unload(adapter_names=["default"]))


def get_plain(model: Trainable) -> PreTrainedModel:
    """The model inside the adapters, or the model itself."""
    return cast(PreTrainedModel, model.get_base_model()) if isinstance(model, PeftModel) else model
