"""The recipe: the frozen configuration of a run, serialisable, stored with the run."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any

from data.errors import InvalidRecipe


@dataclass(frozen=True, kw_only=True)
class Margins:
    """How much worse a candidate may be and still count as no worse; each is positive.

    Attributes:
        log_perplexity: nats per reply token (0.02 is 2 % of perplexity).
        rouge_l: ROUGE-L F1, 0 to 1.
        bleu: sentence BLEU, 0 to 100.
    """

    log_perplexity: float = 0.02
    rouge_l: float = 0.02
    bleu: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What a run does with its snapshot.

    Attributes:
        trainable: `last:N` trains the top N transformer blocks and freezes the rest; `full` trains everything.
        sft_epochs: passes over examples, corrections and up-rated replies; 0 leaves the stage out.
        sft_learning_rate: AdamW peak rate of that stage.
        preference_epochs: passes over rated replies with KTO; 0 leaves the stage out.
        preference_learning_rate: AdamW peak rate of that stage.
        beta: strength of the pull towards the reference model in KTO; larger stays closer.
        batch_size: rows in one optimiser step; at least 2 (KTO pairs rows within a batch).
        max_tokens: longest prompt plus reply in training, in tokens; longer replies are cut at a sentence end.
        reply_tokens: longest reply generated in evaluation, in tokens.
        max_holdout_rows: most hold-out rows answered in one evaluation, chosen by hash; 0 means all.
        min_up, min_down: fewest accepted training ratings of each kind for the preference stage.
        seed: seed of every random choice.
        margins: see `Margins`.
    """

    trainable: str = "last:4"
    sft_epochs: int = 2
    sft_learning_rate: float = 1e-4
    preference_epochs: int = 2
    preference_learning_rate: float = 5e-5
    beta: float = 0.1
    batch_size: int = 8
    max_tokens: int = 320
    reply_tokens: int = 64
    max_holdout_rows: int = 400
    min_up: int = 20
    min_down: int = 20
    seed: int = 0
    margins: Margins = field(default_factory=Margins)

    def __post_init__(self) -> None:
        """Refuse values that no run could use, with the range in the message."""
        if not re.fullmatch(r"full|last:[1-9]\d{0,2}", self.trainable):
            raise InvalidRecipe(f"trainable must be 'full' or 'last:N' with N from 1 to 999, not {self.trainable!r}.")
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidRecipe(f"{name} must be from {low} to {high}, not {value!r}.")
        for margin in dataclasses.fields(Margins):
            if not 0 < getattr(self.margins, margin.name) <= 100:
                raise InvalidRecipe(f"margins.{margin.name} must be above 0 and at most 100.")
        if self.sft_epochs == 0 and self.preference_epochs == 0:
            raise InvalidRecipe("sft_epochs and preference_epochs are both 0, so nothing would be trained.")

    def to_dict(self) -> dict[str, Any]:
        """The recipe as JSON-ready values."""
        return dataclasses.asdict(self)


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("sft_epochs", 0, 100),
    ("sft_learning_rate", 1e-8, 1e-1),
    ("preference_epochs", 0, 100),
    ("preference_learning_rate", 1e-8, 1e-1),
    ("beta", 1e-4, 10),
    ("batch_size", 2, 512),
    ("max_tokens", 16, 8192),
    ("reply_tokens", 1, 1024),
    ("max_holdout_rows", 0, 1_000_000),
    ("min_up", 1, 1_000_000),
    ("min_down", 1, 1_000_000),
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
    if not isinstance(value, wanted) or isinstance(value, bool):
        raise InvalidRecipe(f"{name} must be of type {wanted.__name__}, not {type(value).__name__}.")
    return value
