"""Which method a run trains with: `auto` chooses by what the snapshot holds, by the one rule in `choose_method`.

docs/training.md describes the methods and repeats the rule in words.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from data.preferences import build_pairs, count_contexts, select_rated, select_supervised
from data.recipe import Recipe
from data.vocabulary import Method, Rating, SnapshotRow, Split

DPO_CONTEXTS = 100  # contexts with a pair from which on `auto` takes DPO


@dataclass(frozen=True, kw_only=True)
class MethodCounts:
    """What the training split of a snapshot offers to each method."""

    rows: int  # of any kind
    supervised: int  # rows to imitate
    ups: int  # rated rows
    downs: int
    pairs: int
    paired_contexts: int  # different contexts among the pairs


@dataclass(frozen=True)
class MethodChoice:
    """A method that can be trained (never `auto`), and why, in one sentence."""

    method: Method
    reason: str


def count_rows(rows: Iterable[SnapshotRow]) -> MethodCounts:
    """Counts of the training split; an expert's row counts once."""
    training = [item for item in rows if item.split is Split.TRAIN]
    rated = select_rated(training)
    ups = sum(item.row.rating is Rating.UP for item in rated)
    pairs = build_pairs(training)
    return MethodCounts(
        rows=len(training),
        supervised=len({item.row.row_id for item in select_supervised(training)}),
        ups=ups,
        downs=len(rated) - ups,
        pairs=len(pairs),
        paired_contexts=count_contexts(pairs),
    )


def choose_method(recipe: Recipe, counts: MethodCounts) -> MethodChoice:
    """The recipe's own method, or for `auto` the first of these that applies:

    1. no preference stage is wanted (`preference_epochs` is 0): SFT;
    2. at least DPO_CONTEXTS contexts have a pair: DPO;
    3. `min_up` replies are rated up and `min_down` down: KTO;
    4. SFT.
    """
    if recipe.method != Method.AUTO:
        return MethodChoice(Method(recipe.method), "The recipe names this method.")
    if recipe.preference_epochs == 0:
        return MethodChoice(Method.SFT, "preference_epochs is 0, so only the fine-tuning stage runs.")
    if counts.paired_contexts >= DPO_CONTEXTS:
        reason = f"{counts.paired_contexts} contexts have a better and a worse reply; DPO takes {DPO_CONTEXTS}."
        return MethodChoice(Method.DPO, reason)
    rated = f"{counts.ups} replies are rated up and {counts.downs} down"
    if _has_ratings(recipe, counts):
        few = f"{counts.paired_contexts} contexts have a better and a worse reply where DPO takes {DPO_CONTEXTS}"
        return MethodChoice(Method.KTO, f"{rated}, enough for KTO; {few}.")
    return MethodChoice(
        Method.SFT, f"{rated}; KTO takes {recipe.min_up} up and {recipe.min_down} down, so only fine-tuning is left."
    )


def list_missing(recipe: Recipe, counts: MethodCounts) -> tuple[str, ...]:
    """What the method lacks, a sentence each.

    Few or one-sided ratings are missing under `auto` as well: who wants fine-tuning alone says so.
    """
    missing: list[str] = []
    method = choose_method(recipe, counts).method
    if recipe.sft_epochs and counts.rows and not counts.supervised:
        missing.append("There is no example, correction or up-rated reply to fine-tune on.")
    if method in (Method.DPO, Method.REWARD) and counts.pairs < recipe.min_pairs:
        missing.append(
            f"There are {counts.pairs} pairs of a better and a worse reply in training; at least {recipe.min_pairs} "
            f"are needed for method {method.value} (or set method to auto)."
        )
    wants_ratings = method is Method.KTO or (recipe.method == Method.AUTO and recipe.preference_epochs > 0)
    if wants_ratings and method is not Method.DPO and not _has_ratings(recipe, counts):
        needed = f"{recipe.min_up} up and {recipe.min_down} down"
        if recipe.min_up == recipe.min_down:
            needed = f"{recipe.min_up} of each"
        missing.append(
            f"There are {counts.ups} ratings up and {counts.downs} down in training; at least {needed} are needed "
            "(or set preference_epochs to 0)."
        )
    return tuple(missing)


def _has_ratings(recipe: Recipe, counts: MethodCounts) -> bool:
    return counts.ups >= recipe.min_up and counts.downs >= recipe.min_down
