"""The recipe: the frozen configuration of a run, serialisable, stored with the run."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

from data.errors import InvalidRecipe
from data.vocabulary import Method, Policy


@dataclass(frozen=True, kw_only=True)
class Margins:
    """How much worse a candidate may be and still count as no worse; each is positive.

    Attributes:
        log_perplexity: nats per reply token (0.02 is 2 % of perplexity).
        rouge_l: ROUGE-L F1, 0 to 1.
        bleu, chrf: sentence BLEU and chrF (precision and recall alike), 0 to 100.
        distinct_2: share of different word pairs over all replies, 0 to 1.
        repetition: share of repeated runs of four words inside a reply, 0 to 1.
        reply_words: mean length, as a share: no shorter than production's and the references' means by more, and no
            longer than both by more.
        rating_auc: chance that a liked reply scores above a disliked one, 0 to 1.
        filtered: share of replies that the output filter stops, 0 to 1.
    """

    log_perplexity: float = 0.02
    rouge_l: float = 0.02
    bleu: float = 1.0
    chrf: float = 2.0
    distinct_2: float = 0.05
    repetition: float = 0.05
    reply_words: float = 0.25
    rating_auc: float = 0.10
    filtered: float = 0.02


def measure_length_room(margin: float, words: float, reference_words: float | None) -> tuple[float, float]:
    """How much shorter, and how much longer, replies may become than `words`, both in words.

    They may be anything between `words` and what the references have, and beyond both by the margin as a share of them:
    to become as long as what an expert wrote is no loss, and a base that never ends its replies is as long as the cap.

    Args:
        margin: `Margins.reply_words`.
        words: mean of the model that is compared with.
        reference_words: mean of the references; None where they set no length.
    """
    aims = [words] if reference_words is None else [words, reference_words]
    return words - (1 - margin) * min(aims), (1 + margin) * max(aims) - words


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run does with its snapshot.

    Attributes:
        method: `auto`, `sft`, `kto`, `dpo` or `reward`; see docs/training.md.
        trainable: `last:N` trains the top N transformer blocks and freezes the rest; `lora:R` trains adapters of
            rank R on every block and merges them in at the end; `full` trains everything.
        sft_epochs: passes over examples, corrections and up-rated replies; 0 leaves the stage out.
        sft_learning_rate: AdamW peak rate of that stage.
        replay_share: share of the imported examples among the rows to imitate, 0 to 1, chosen by `seed`.
        preference_epochs: passes over rated replies (KTO), pairs (DPO) or prompts (reward); 0 leaves the stage out.
        preference_learning_rate: AdamW peak rate of that stage.
        beta: strength of the pull towards the reference model in KTO, DPO, RLOO and GRPO; larger stays closer.
        dpo_loss: `sigmoid`, or `robust` for ratings of which a share is wrong.
        label_smoothing: that share, 0 to 0.49, for `robust`.
        reward_epochs, reward_learning_rate: passes over pairs and AdamW peak rate of the reward model.
        policy: how the model follows the reward model: `best_of_n`, `rloo` or `grpo`.
        policy_samples: replies sampled for each prompt there; `batch_size` is a multiple of it for RLOO and GRPO.
        policy_prompts: most prompts sampled for there, chosen by `seed`.
        batch_size: rows in one optimiser step; at least 2 (KTO pairs rows within a batch).
        max_tokens: longest prompt plus reply in training, in tokens, at most the base model's window; longer replies
            are cut at a sentence end.
        long_rows: what becomes of a reply to imitate that is over `max_tokens`: `split` makes several rows of it at
            sentence ends, `cut` keeps its first sentences. Rated replies are always cut: one thumb, one row.
        lowercase: put training texts into lower case; what is served and held out stays as it is.
        augmented_copies: most synthetic variants of each row to imitate, with a changed context; 0 makes none.
        augment_below: rows to imitate from which on there are no variants: it is for small sets.
        pseudo_labels: most unrated replies, the newest first, that the reward model may rate; 0 takes none.
        pseudo_label_confidence: how sure it must be of a rating, 0.5 to 1.
        reply_tokens: longest reply generated in evaluation, in tokens, at most half of the base model's window.
        max_holdout_rows: most hold-out rows answered in one evaluation, chosen by hash; 0 means all.
        safety_items: most items of the safety set asked in one evaluation, of each category its share and always the
            same ones; 0 means all.
        samples_per_prompt: fresh replies to each hold-out prompt that the reward head scores; 1 takes the greedy
            one, more are sampled at temperature 0.8.
        min_up, min_down: fewest accepted training ratings of each kind for KTO.
        min_pairs: fewest training pairs for the methods `dpo` and `reward`.
        save_steps: optimiser steps between two checkpoints; a run that was killed goes on from the last one.
        early_stopping_patience: evaluations without a lower dev loss (one an epoch) after which a stage ends; the
            best weights are kept. 0 trains to the end and keeps the last ones.
        precision: `float32`, `bfloat16` (refused where the hardware is slow at it), or `auto`: what pays here.
        gradient_accumulation: parts in which the rows of one step are computed; the step stays the same and takes
            less memory. It divides `batch_size` and leaves at least 2 rows in a part.
        gradient_checkpointing: compute the activations twice rather than keep them; slower, less memory.
        launcher: `python`, or `accelerate` for several processes or devices.
        processes: processes of `accelerate launch`; together they share the rows of one step.
        seed: seed of every random choice.
        margins: see `Margins`.
        gate_mode: `strict` tests all at the level of the consultation; `balanced` only what is to be better and safety,
            and that no other metric is worse at 0.01 in each run, which promises less over the life of a hold-out.
    """

    method: str = "auto"
    trainable: str = "last:4"
    sft_epochs: int = 2
    sft_learning_rate: float = 3e-4
    replay_share: float = 1.0
    preference_epochs: int = 1
    preference_learning_rate: float = 5e-5
    beta: float = 0.1
    dpo_loss: str = "sigmoid"
    label_smoothing: float = 0.0
    reward_epochs: int = 1
    reward_learning_rate: float = 1e-4
    policy: str = "best_of_n"
    policy_samples: int = 4
    policy_prompts: int = 200
    batch_size: int = 8
    max_tokens: int = 320
    long_rows: str = "split"
    lowercase: bool = False
    augmented_copies: int = 0
    augment_below: int = 1000
    pseudo_labels: int = 0
    pseudo_label_confidence: float = 0.9
    reply_tokens: int = 64
    max_holdout_rows: int = 400
    safety_items: int = 0
    samples_per_prompt: int = 1
    min_up: int = 20
    min_down: int = 20
    min_pairs: int = 20
    save_steps: int = 500
    early_stopping_patience: int = 2
    precision: str = "auto"
    gradient_accumulation: int = 1
    gradient_checkpointing: bool = False
    launcher: str = "python"
    processes: int = 1
    seed: int = 0
    margins: Margins = field(default_factory=Margins)
    gate_mode: str = "strict"

    def __post_init__(self) -> None:
        """Refuse values that no run could use, with the range in the message."""
        if not re.fullmatch(r"full|(last|lora):[1-9]\d{0,2}", self.trainable):
            raise InvalidRecipe(
                f"trainable must be 'full', 'last:N' or 'lora:R' with N and R from 1 to 999, not {self.trainable!r}."
            )
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise InvalidRecipe(f"{name} must be one of {', '.join(choices)}, not {getattr(self, name)!r}.")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidRecipe(f"{name} must be from {low} to {high}, not {value!r}.")
        for margin in dataclasses.fields(Margins):
            if not 0 < getattr(self.margins, margin.name) <= 100:
                raise InvalidRecipe(f"margins.{margin.name} must be above 0 and at most 100.")
        if self.sft_epochs == 0 and self.preference_epochs == 0:
            raise InvalidRecipe("sft_epochs and preference_epochs are both 0, so nothing would be trained.")
        self._check_method()
        self._check_parts()

    def _check_method(self) -> None:
        """Refuse a method together with what takes it away."""
        if self.method == Method.SFT and self.sft_epochs == 0:
            raise InvalidRecipe("method is sft, but sft_epochs is 0, so nothing would be trained.")
        if self.method in (Method.KTO, Method.DPO, Method.REWARD) and self.preference_epochs == 0:
            raise InvalidRecipe(f"method is {self.method}, but preference_epochs is 0; set it to at least 1.")
        if (self.dpo_loss == "robust") != (self.label_smoothing > 0):
            raise InvalidRecipe("dpo_loss robust and a label_smoothing above 0 go together; set both or neither.")
        if self.method == Method.REWARD and self.policy != Policy.BEST_OF_N and self.batch_size % self.policy_samples:
            raise InvalidRecipe(
                f"batch_size must be a multiple of policy_samples for {self.policy}; {self.batch_size} is none of "
                f"{self.policy_samples}."
            )

    def _check_parts(self) -> None:
        """Refuse parts of a step that are uneven or too small."""
        parts = self.gradient_accumulation * self.processes
        if self.launcher == "python" and self.processes > 1:
            raise InvalidRecipe(f"{self.processes} processes need launcher = 'accelerate'.")
        if self.batch_size % parts or self.batch_size // parts < MIN_MICRO_BATCH:
            raise InvalidRecipe(
                f"batch_size {self.batch_size} must divide into gradient_accumulation x processes = {parts} parts of "
                f"at least {MIN_MICRO_BATCH} rows."
            )

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON-ready values."""
        return dataclasses.asdict(self)


MIN_MICRO_BATCH = 2  # rows that KTO compares with each other

_CHOICES: dict[str, tuple[str, ...]] = {
    "method": tuple(Method),
    "dpo_loss": ("sigmoid", "robust"),
    "long_rows": ("split", "cut"),
    "policy": tuple(Policy),
    "precision": ("auto", "float32", "bfloat16"),
    "launcher": ("python", "accelerate"),
    "gate_mode": ("strict", "balanced"),
}

_RANGES: tuple[tuple[str, float, float], ...] = (
    ("sft_epochs", 0, 100),
    ("sft_learning_rate", 1e-8, 1e-1),
    ("preference_epochs", 0, 100),
    ("preference_learning_rate", 1e-8, 1e-1),
    ("replay_share", 0, 1),
    ("beta", 1e-4, 10),
    ("label_smoothing", 0, 0.49),
    ("reward_epochs", 1, 100),
    ("reward_learning_rate", 1e-8, 1e-1),
    ("policy_samples", 2, 64),
    ("policy_prompts", 1, 1_000_000),
    ("batch_size", 2, 512),
    ("max_tokens", 16, 8192),
    ("augmented_copies", 0, 4),
    ("augment_below", 1, 1_000_000),
    ("pseudo_labels", 0, 1_000_000),
    ("pseudo_label_confidence", 0.5, 1),
    ("reply_tokens", 1, 1024),
    ("max_holdout_rows", 0, 1_000_000),
    ("safety_items", 0, 1_000_000),
    ("samples_per_prompt", 1, 16),
    ("min_up", 1, 1_000_000),
    ("min_down", 1, 1_000_000),
    ("min_pairs", 1, 1_000_000),
    ("save_steps", 1, 1_000_000),
    ("early_stopping_patience", 0, 100),
    ("gradient_accumulation", 1, 256),
    ("processes", 1, 64),
    ("seed", 0, 2**31 - 1),
)


def build_recipe(values: dict[str, Any]) -> Recipe:
    """A recipe from JSON values; fields left out keep their defaults.

    Raises:
        InvalidRecipe: a field is unknown, of the wrong type or out of range.
    """
    defaults = {f.name: f for f in dataclasses.fields(Recipe)}
    unknown = sorted(set(values) - set(defaults))
    if unknown:
        raise InvalidRecipe(f"Unknown recipe field {unknown[0]!r}; the fields are {', '.join(sorted(defaults))}.")
    given = dict(values)
    if "margins" in given:
        given["margins"] = _build_margins(given["margins"])
    for name, value in given.items():
        if name != "margins":
            given[name] = _check_type(name, value, getattr(Recipe, name))
    return Recipe(**given)


def check_window(recipe: Recipe, window_tokens: int) -> None:
    """Refuse a recipe that does not fit the base model, which reads `window_tokens` tokens of prompt and reply.

    A longer training row would stop the training in its midst; a reply of more than half leaves prompts no room, as in
    serving, and the hold-out would be asked nothing.

    Raises:
        InvalidRecipe: rows or replies may be too long.
    """
    if recipe.max_tokens > window_tokens:
        raise InvalidRecipe(
            f"max_tokens is {recipe.max_tokens}, but the base model reads {window_tokens} tokens; set it to at most "
            f"{window_tokens}."
        )
    if recipe.reply_tokens > window_tokens // 2:
        raise InvalidRecipe(
            f"reply_tokens is {recipe.reply_tokens}, but a reply may take half of the {window_tokens} tokens that the "
            f"base model reads; set it to at most {window_tokens // 2}."
        )


def _build_margins(values: object) -> Margins:
    if not isinstance(values, dict):
        raise InvalidRecipe("margins must be an object of numbers.")
    names = {f.name for f in dataclasses.fields(Margins)}
    unknown = sorted(set(values) - names)
    if unknown:
        raise InvalidRecipe(f"Unknown margin {unknown[0]!r}; the margins are {', '.join(sorted(names))}.")
    return Margins(**{name: _check_type(f"margins.{name}", value, 1.0) for name, value in values.items()})


def _check_type(name: str, value: object, default: object) -> Any:
    """`value` when it has the type of `default` (an int passes for a float, a bool for neither)."""
    wanted = type(default)
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, wanted) or (isinstance(value, bool) and wanted is not bool):
        raise InvalidRecipe(f"{name} must be of type {wanted.__name__}, not {type(value).__name__}.")
    return value
