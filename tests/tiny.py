"""A tiny random GPT-2 with a real tokenizer, made in seconds: the base model of every test."""

from __future__ import annotations

import csv
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

SAMPLES = Path(__file__).parents[1] / "data" / "samples"
SAMPLE_EXAMPLES = sum(1 for _ in csv.DictReader((SAMPLES / "support.csv").read_text().splitlines()))
TOKENIZER_ROWS = 420  # so many for ever: another row would be another tokenizer, and the recorded losses would change


def build_tiny_gpt2(folder: Path, *, layers: int = 3, width: int = 64, vocabulary: int = 600, seed: int = 0) -> Path:
    """Save a random GPT-2 (about 0.2 M parameters) with a byte-level BPE trained on the samples; returns `folder`."""
    with (SAMPLES / "support.csv").open(newline="") as file:
        rows = islice(csv.DictReader(file), TOKENIZER_ROWS)
        texts = [text for row in rows for text in (row["Context"], row["Response"])]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = "<|endoftext|>"
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[special], initial_alphabet=alphabet)
    )
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=special, eos_token=special, unk_token=special)
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=len(fast), n_positions=256, n_embd=width, n_layer=layers, n_head=4, bos_token_id=0, eos_token_id=0
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def build_tiny_llama(folder: Path, *, seed: int = 0) -> Path:
    """Save a random Llama with grouped heads and tied embeddings, and the tokenizer of the GPT-2; returns `folder`."""
    build_tiny_gpt2(folder)
    vocabulary = GPT2Config.from_pretrained(folder).vocab_size
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        bos_token_id=0,
        eos_token_id=0,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def sharpen(folder: Path) -> Path:
    """Make the weights so large that replies do not repeat one token; returns `folder`."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8.0 if parameter.dim() == 2 else 1.0)
    model.save_pretrained(folder)
    return folder
