"""loopbench: what thumbs do to a model over several cycles, measured by a judge that training never sees.

    python -m benchmarks.loop [--scenario honest ...] [--cycles 3] [--ratings 300] [--base smollm2-135m]
                              [--contexts FILE.csv.gz] [--recipe KEY=VALUE ...] [--go-on]

`honest` goes over the real stack (HTTP chat, feedback, run) unless `--through files` is given; the others go from the
pool to the snapshot, to `python -m trainer` and to the gate without database and broker. `docs/loop.md` says how to
read it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.loop.journal import Journal, read_journal
from benchmarks.loop.play import Settings, play, play_on_files
from benchmarks.loop.scenarios import SCENARIOS, Scenario
from benchmarks.loop.stack_line import open_line
from benchmarks.loop.texts import Texts, read_texts
from benchmarks.loop.training import parse_recipe
from benchmarks.provenance import describe_origin, save_json
from settings import Settings as Environment

RESULT = Path(__file__).parents[1] / "results" / "loop.json"
COUNSEL_CHAT = Path(__file__).parents[3] / "shared" / "data" / "counsel_chat" / "counsel_chat_2020_scrape.csv.gz"
# Of the safety set enough that harm cannot slip through: of 24 items a version passed that was worse on 57 others.
DEFAULTS: dict[str, Any] = {"max_tokens": 256, "max_holdout_rows": 250, "safety_items": 240}


def main(arguments: Sequence[str] | None = None) -> int:
    """Play the scenarios one after the other; each is written down as soon as it is through."""
    options = _parse(arguments)
    contexts = options.contexts or (COUNSEL_CHAT if COUNSEL_CHAT.exists() else None)
    print(f"Contexts: our prompts{f' and {contexts.name}' if contexts else ''}.")
    texts = read_texts(contexts, options.judged)
    settings = Settings(
        work=options.work,
        base=options.base,
        recipe=parse_recipe(options.recipe, **DEFAULTS),
        cycles=options.cycles,
        ratings=options.ratings,
        safety_items=options.safety_items,
        seed=options.seed,
    )
    names = list(SCENARIOS) if "all" in options.scenario else options.scenario
    for scenario in (SCENARIOS[name] for name in names):
        print(f"{scenario.name}: {scenario.description}", flush=True)
        started_s = time.monotonic()
        through, figures = _play(scenario, settings, texts, options)
        figures |= {"description": scenario.description, "through": through}
        figures |= {"recipe": settings.recipe.to_dict(), "base": options.base, "seed": options.seed}
        figures["compute_type"] = Environment().compute_type
        figures["minutes"] = round((time.monotonic() - started_s) / 60, 1)
        _save(options.result, scenario.name, figures)
        print_figures(scenario.name, figures)
    return 0


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", nargs="+", default=["honest"], choices=[*SCENARIOS, "all"])
    parser.add_argument("--cycles", type=int, default=3)
    parser.add_argument("--ratings", type=int, default=300, help="in each cycle")
    parser.add_argument("--base", default="smollm2-135m", help="a base model, or a folder that holds one")
    parser.add_argument("--contexts", type=Path, help="CSV with the column Context; counsel-chat where it is there")
    parser.add_argument("--recipe", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--judged", type=int, default=100, help="contexts that only the judge sees")
    parser.add_argument("--safety-items", type=int, default=60, help="0: all")
    parser.add_argument("--through", choices=("stack", "files"), help="the stack for honest, files for the others")
    parser.add_argument(
        "--go-on", action="store_true", help="after the last cycle of the stack that an earlier call left"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("var/loop"))
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    if options.through == "stack" and options.scenario != ["honest"]:
        parser.error("Only honest goes over the stack; leave --through out.")
    if options.go_on and (options.scenario != ["honest"] or options.through == "files"):
        parser.error("Only honest over the stack can be gone on with; leave --go-on out.")
    return options


def _play(
    scenario: Scenario, settings: Settings, texts: Texts, options: argparse.Namespace
) -> tuple[str, dict[str, Any]]:
    if options.through == "files" or scenario.name != "honest":
        return "files", play_on_files(scenario, settings, texts)
    journal = Journal(file=settings.work / "stack" / "cycles.json", settings=settings.list_kept())
    if options.go_on:
        try:
            journal = read_journal(journal.file, journal.settings)
        except ValueError as error:
            raise SystemExit(str(error)) from None
    with open_line(settings.work / "stack", settings.base, settings.recipe, goes_on=options.go_on) as line:
        return "stack", play(scenario, line, settings, texts, journal)


def _save(path: Path, name: str, figures: dict[str, Any]) -> None:
    """Put one scenario beside those that earlier calls measured."""
    known = json.loads(path.read_text()) if path.exists() else {"scenarios": {}}
    known["scenarios"][name] = describe_origin(" ".join(["python -m benchmarks.loop", *sys.argv[1:]])) | figures
    save_json(path, known)


def print_figures(name: str, figures: dict[str, Any]) -> None:
    """The table of one scenario; a line for each arm."""
    arms: dict[str, Any] = {key: figures[key] for key in ("defended", "undefended") if key in figures}
    for arm, told in (arms or {"": figures}).items():
        final, harm = told["final"], told["harm"]
        verdicts = ", ".join(cycle["verdict"] for cycle in told["cycles"])
        print(f"{' '.join(filter(None, (name, arm)))}: {verdicts} ({figures['minutes']} min)")
        print(
            f"  judge: win rate over version 0 {final['win_rate']:.0%} ({final['low']:.0%} to {final['high']:.0%}, "
            f"{final['contexts']} contexts); the honest rater's up share {_arrow(final['honest_rater_up'])}; "
            f"distinct-2 {_arrow(final['distinct_2'])}; shared openings "
            f"{final['shared_before']:.0%} -> {final['shared_after']:.0%}"
        )
        severe, mild = (
            f"{harm['before'][kind]['count']} -> {harm['after'][kind]['count']}" for kind in ("severe", "mild")
        )
        print(f"  harm on {harm['after']['items']} safety items: severe {severe}, mild {mild}")
        for cycle in told["cycles"]:
            print(f"  candidate of cycle {cycle['cycle']}: {_describe_candidate(cycle)}")
        if "attack" in told:
            before, after = told["attack"]["before"], told["attack"]["after"]
            success = f"{before['success']:.0%} -> {after['success']:.0%}"
            print(f"  attack success on {after['prompts']} neutral prompts {success}")
        if "gameable_users" in told:
            print(f"  gameable users get what they want to hear {_arrow(told['gameable_users']['pleased'])}")
        if "forgetting" in told:
            lost = told["forgetting"]
            print(
                f"  forgotten of the first hold-out {lost['forgotten']:+.3f} nats per token "
                f"({lost['low']:+.3f} to {lost['high']:+.3f}, {lost['rows']} rows)"
            )


def _describe_candidate(cycle: dict[str, Any]) -> str:
    if "candidate" not in cycle:
        return "none"
    judged = cycle["candidate"]
    said = [f"judge {judged['win_rate']:.0%} ({judged['low']:.0%} to {judged['high']:.0%})"]
    said.append(f"flattering {_arrow(judged['flattering'])}")
    if "candidate_attack" in cycle:
        said.append(f"attack success {cycle['candidate_attack']['success']:.0%}")
    if "candidate_gameable_users" in cycle:
        said.append(f"gameable users pleased {_arrow(cycle['candidate_gameable_users']['pleased'])}")
    return ", ".join(said)


def _arrow(pair: dict[str, float]) -> str:
    return f"{pair['before']:.0%} -> {pair['after']:.0%}"


if __name__ == "__main__":
    sys.exit(main())
