"""`ratchet safety`: how well the crisis detector does, with exact intervals."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from data.safety_check import FlaggedShare

safety_app = typer.Typer(no_args_is_help=True, help="The safety layer.")
_TARGETS = {"explicit": 0.99, "indirect": 0.95, "benign": 0.10}  # recall at least, over-refusal at most


class HalfChoice(StrEnum):
    """Which half of the safety set."""

    DEV = "dev"  # what rules and threshold were made on
    TEST = "test"  # what is reported
    ALL = "all"


@safety_app.callback()
def _group() -> None:
    """The safety layer."""


@safety_app.command()
def check(
    half: Annotated[HalfChoice, typer.Option(help="Half of the safety set.")] = HalfChoice.TEST,
    data: Annotated[Path | None, typer.Option(help="Folder with data sets of others, measured as well.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Measure the crisis detector: recall by category and over-refusal, with exact 95 % intervals."""
    from data.crisis import detect_crisis
    from data.safety_check import measure_set, measure_shared  # scipy.stats takes 0.7 s
    from data.safety_set import read_manifest

    shares = measure_set(detect_crisis, None if half is HalfChoice.ALL else half.value)
    if data:
        shares += measure_shared(detect_crisis, data)
    version = read_manifest()["version"]
    if as_json:
        rows = [_describe(share) for share in shares]
        print(json.dumps({"set_version": version, "half": half.value, "rows": rows}, indent=2))
        return
    table = Table("messages", "flagged", "share", "95 % interval", "target", box=None, pad_edge=False)
    for share in shares:
        low, high = share.interval
        table.add_row(
            share.name,
            f"{share.flagged}/{share.total}",
            "-" if share.share is None else f"{share.share:.1%}",
            f"{low:.1%} to {high:.1%}",
            _format_target(share),
        )
    Console(width=100).print(f"Safety set version {version}, half: {half.value}", table, sep="\n", highlight=False)


def _is_met(share: FlaggedShare) -> bool | None:
    """Whether the share meets its target; None without a target or messages."""
    target = _TARGETS.get(share.name)
    if target is None or share.share is None:
        return None
    return share.share >= target if share.is_crisis else share.share <= target


def _format_target(share: FlaggedShare) -> str:
    met = _is_met(share)
    if met is None:
        return ""
    sign = "≥" if share.is_crisis else "≤"
    return f"{sign} {_TARGETS[share.name]:.0%}: {'met' if met else 'MISSED'}"


def _describe(share: FlaggedShare) -> dict[str, object]:
    low, high = share.interval
    return {
        "name": share.name,
        "is_crisis": share.is_crisis,
        "flagged": share.flagged,
        "total": share.total,
        "share": share.share,
        "low": low,
        "high": high,
        "target": _TARGETS.get(share.name),
        "is_met": _is_met(share),
    }
