"""Which versions a candidate is held against besides production: the anchor, and production's predecessor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from data.vocabulary import Verdict
from db.models import Evaluation, Promotion, Version
from db.promotions import build_history, list_promotions
from db.versions import get_version

_LOWER_IS_BETTER = frozenset({"log_perplexity", "repetition", "filtered"})
_NOT_CHAINED = frozenset({"reply_words", "rating_auc"})  # no better side; measured on ever other ratings


@dataclass(frozen=True)
class Standing:
    """What production is measured by.

    Attributes:
        anchor: the version that production has fallen behind most; None where that is production itself.
        previous: the version that production replaced; None for the first.
        promoted_at_s: when a decision put production there, seconds since 1970; None for the first.
    """

    anchor: Version | None
    previous: Version | None
    promoted_at_s: float | None


def find_standing(session: Session, margins: Mapping[str, float]) -> Standing:
    """Anchor, predecessor and time of the present production."""
    promotions = list_promotions(session)
    history = build_history(reversed(promotions))
    anchor = _find_anchor(session, history, margins)
    return Standing(
        anchor=None if anchor == history[-1] else get_version(session, anchor),
        previous=get_version(session, history[-2]) if len(history) > 1 else None,
        promoted_at_s=_find_time(promotions, history[-1]),
    )


def _find_anchor(session: Session, history: list[int], margins: Mapping[str, float]) -> int:
    """The number of the anchor: the best ever in that guarded metric in which production has lost most since.

    Each decision to promote recorded the differences to the production of its time; added up along the line of
    promotions, in margins, they say where each version stands in each metric. The best one in the metric with the
    largest loss is where margins are adding up. Without any loss it is production itself. A production that no
    decision stands behind is held against the last version that has one.
    """
    gains = _load_gains(session, history, margins)
    places: dict[int, dict[str, float]] = {}
    for number in history:
        if number not in gains:
            if number == history[0]:
                places[number] = dict.fromkeys(margins, 0.0)
            continue
        production, steps = gains[number]
        if production in places:
            places[number] = {name: places[production][name] + steps.get(name, 0.0) for name in margins}
    now = history[-1]
    if now not in places:
        return [number for number in history if number in places][-1]
    losses = [
        (places[number][name] - places[now][name], number)
        for number in places
        for name in margins
        if name not in _NOT_CHAINED
    ]
    loss, best = max(losses)
    return best if loss > 0 else now


def _load_gains(
    session: Session, history: list[int], margins: Mapping[str, float]
) -> dict[int, tuple[int, dict[str, float]]]:
    """By version: the production that it was promoted over, and its gains over that in margins."""
    rows = session.execute(
        select(Version.number, Evaluation.production_version, Evaluation.decision)
        .join(Evaluation, Evaluation.run_id == Version.run_id)
        .where(Version.number.in_(history), Evaluation.verdict == Verdict.PROMOTE)
    )
    return {number: (production, _read_gains(decision or {}, margins)) for number, production, decision in rows}


def _read_gains(decision: Mapping[str, Any], margins: Mapping[str, float]) -> dict[str, float]:
    gains = {}
    for metric in decision.get("metrics", []):
        name, difference = metric["name"], metric["difference"]
        if name in margins and difference is not None:
            gains[name] = difference / margins[name] * (-1 if name in _LOWER_IS_BETTER else 1)
    return gains


def _find_time(promotions: list[Promotion], number: int) -> float | None:
    """When the newest decision put that version into production; going back to it is none."""
    return next(
        (p.created_at_s for p in promotions if p.version_number == number and p.kind in ("gate", "manual")), None
    )
