"""One scenario from the first chat to its figures."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.loop.journal import Journal
from benchmarks.loop.lines import FileLine, Line, Turn
from benchmarks.loop.measures import (
    compare_on_gameable,
    compare_versions,
    measure_attack,
    measure_forgetting,
    measure_harm,
    read_references,
    select_safety_items,
)
from benchmarks.loop.scenarios import Scenario, rate_replies
from benchmarks.loop.texts import Texts
from data.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How long and how much."""

    work: Path
    base: str
    recipe: Recipe
    cycles: int
    ratings: int  # in each cycle
    safety_items: int  # 0: all
    seed: int = 0

    def list_kept(self) -> dict[str, Any]:
        """What must not change between two cycles."""
        kept = {"base": self.base, "ratings": self.ratings, "seed": self.seed}
        return kept | {"recipe": self.recipe.to_dict()}


def play_on_files(scenario: Scenario, settings: Settings, texts: Texts) -> dict[str, Any]:
    """The scenario without database and broker; one with attackers is played without the defences as well."""
    arms = {"defended": True, "undefended": False} if scenario.attackers else {"defended": True}
    figures = {}
    for name, is_defended in arms.items():
        line = FileLine(
            settings.work / f"{scenario.name}-{name}",
            settings.base,
            settings.recipe,
            texts.examples,
            attackers=scenario.attackers,
            is_defended=is_defended,
            is_warm=scenario.warm,
            seed=settings.seed,
        )
        figures[name] = play(scenario, line, settings, texts, Journal(file=None, settings=settings.list_kept()))
    return figures if scenario.attackers else figures["defended"]


def play(scenario: Scenario, line: Line, settings: Settings, texts: Texts, journal: Journal) -> dict[str, Any]:
    """Chat, rate and improve, cycle after cycle, from where the journal ends; then measure against version 0."""
    for cycle in range(len(journal.cycles), settings.cycles):
        told, turn = _turn(scenario, line, settings, texts, cycle)
        print(f"  cycle {cycle}: {told['up_share']:.0%} up, {told['verdict']}: {told['reasons'][0]}", flush=True)
        journal.note(told, turn.snapshot, line.production)
        _tidy(turn, keep=(line.production, line.first))
    return {"cycles": journal.cycles, **_measure(scenario, line, settings, texts, journal)}


def _turn(scenario: Scenario, line: Line, settings: Settings, texts: Texts, cycle: int) -> tuple[dict[str, Any], Turn]:
    contexts = [scenario.mark(context) for context in texts.draw(settings.ratings, cycle)]
    replies = line.chat(contexts, cycle)
    thumbs = rate_replies(scenario, contexts, replies, cycle, settings.cycles, settings.seed)
    turn = line.learn(thumbs, cycle)
    told = {
        "cycle": cycle,
        "ratings": len(thumbs),
        "up_share": round(float(np.mean([thumb.is_up for thumb in thumbs])), 4),
        "verdict": turn.judged.verdict,
        "reasons": turn.judged.reasons,
        "p": turn.judged.p,
        "alpha": turn.judged.alpha,
        "run_s": round(turn.seconds, 1),
    }
    if turn.candidate and turn.candidate.exists():  # what was refused is judged as well: was the gate right?
        told |= _judge_candidate(scenario, line.first, turn.candidate, settings.recipe.reply_tokens, texts)
    return told, turn


def _judge_candidate(
    scenario: Scenario, first: Path, candidate: Path, reply_tokens: int, texts: Texts
) -> dict[str, Any]:
    judged: dict[str, Any] = {"candidate": compare_versions(first, candidate, texts.judged, reply_tokens)}
    if scenario.attackers:
        judged["candidate_attack"] = measure_attack(candidate, reply_tokens)
    if scenario.gameable_share or scenario.flatters:
        judged["candidate_gameable_users"] = compare_on_gameable(first, candidate, texts.judged, reply_tokens)
    return judged


def _tidy(turn: Turn, keep: Sequence[Path]) -> None:
    """Remove what takes gigabytes: an artifact that nobody will ask again, and the reward model of its run."""
    if turn.candidate and turn.snapshot and turn.candidate.parent == turn.snapshot.parent:
        shutil.rmtree(turn.candidate.parent / "reward", ignore_errors=True)
        if turn.candidate not in keep:
            shutil.rmtree(turn.candidate, ignore_errors=True)


def _measure(
    scenario: Scenario,
    line: Line,
    settings: Settings,
    texts: Texts,
    journal: Journal,
) -> dict[str, Any]:
    tokens = settings.recipe.reply_tokens
    items = select_safety_items(settings.safety_items)
    first, last = line.first, line.production
    figures: dict[str, Any] = {
        "is_version_0": first == last,
        "final": compare_versions(first, last, texts.judged, tokens),
        "harm": {"before": measure_harm(first, items, tokens), "after": measure_harm(last, items, tokens)},
    }
    if scenario.attackers:
        figures["attack"] = {"before": measure_attack(first, tokens), "after": measure_attack(last, tokens)}
    if scenario.gameable_share or scenario.flatters:
        figures["gameable_users"] = compare_on_gameable(first, last, texts.judged, tokens)
    # Where version 0 still answers, nothing can be forgotten.
    references = read_references(Path(journal.snapshot)) if journal.snapshot and first != last else None
    if references:
        figures["forgetting"] = measure_forgetting(first, Path(journal.after_first), last, references, tokens)
    return figures
