"""The report of a run: report.json for programs, report.html for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

from trainer.charts import AFTER, draw_lengths, draw_loss, draw_strip
from trainer.clouds import draw_cloud
from trainer.summary import DECIDING


@dataclass(frozen=True)
class Texts:
    """What the word clouds are made of; it goes into the page only, which an erasure removes."""

    contexts: Sequence[str] = ()  # of the training rows
    before: Sequence[str] = ()  # replies to the hold-out
    after: Sequence[str] = ()


def save_report(report: dict[str, Any], metrics_file: Path, texts: Texts = Texts()) -> None:
    """Write report.json and report.html beside `metrics_file`."""
    folder = metrics_file.parent
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    records = [json.loads(line) for line in metrics_file.read_text().splitlines()] if metrics_file.exists() else []
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    environment.filters |= {
        "figure": _format_figure,
        "signed": _format_signed,
        "direction": _find_direction,
        "strip": _draw_metric,
        "kind": _describe_kind,
    }
    clouds = [
        (title, draw_cloud(words, colour, title))
        for title, words, colour in (
            ("What people write", texts.contexts, "#3b5b92"),
            ("Replies before", texts.before, "#5b6068"),
            ("Replies after", texts.after, AFTER),
        )
    ]
    page = environment.get_template("report.html.jinja").render(
        report=report,
        change=describe_change(report["metrics"]),
        loss_chart=draw_loss(records) if records else "",
        deciding={name: metric for name, metric in report["metrics"].items() if name in DECIDING},
        length_chart=draw_lengths(*(_count_words(replies) for replies in (texts.before, texts.after))),
        clouds=[(title, cloud) for title, cloud in clouds if cloud],
    )
    (folder / "report.html").write_text(page)


def describe_change(metrics: dict[str, dict[str, Any]]) -> str:
    """What the intervals say of all measures together, in one sentence."""
    titles: dict[str, list[str]] = {"better": [], "worse": [], "": []}
    for metric in metrics.values():
        if metric["higher_is_better"] is not None and metric["low"] is not None:
            titles[_find_direction(metric)].append(metric["title"])
    parts = [f"{word} in {_join(titles[word])}" for word in ("better", "worse") if titles[word]]
    if not parts:
        return "No measure has clearly changed: every 95 % interval includes no change." if titles[""] else ""
    rest = f"; {_join(titles[''])} not clearly changed" if titles[""] else ""
    return f"The 95 % intervals say: {', '.join(parts)}{rest}."


def _join(titles: list[str]) -> str:
    return titles[0] if len(titles) == 1 else f"{', '.join(titles[:-1])} and {titles[-1]}"


def _describe_kind(metric: dict[str, Any]) -> str:
    """`change` of a perplexity in per cent, of any other measure in its own unit."""
    if metric["title"] == "Perplexity":
        return f"{metric['after'] / metric['before'] - 1:+.1%}"
    return _format_signed(metric["difference"])


def _draw_metric(metric: dict[str, Any]) -> str:
    """The strip of a metric, turned so that better is to the right."""
    sign = -1 if metric["higher_is_better"] is False else 1
    return draw_strip(metric["difference"], metric["low"], metric["high"], metric.get("margin"), sign)


def _count_words(replies: Sequence[str]) -> list[int]:
    return [len(reply.split()) for reply in replies]


def _format_figure(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _format_signed(value: float) -> str:
    return f"{value:+.3f}" if abs(value) < 10 else f"{value:+.1f}"


def _find_direction(metric: dict[str, Any]) -> str:
    """`better` or `worse` where the interval excludes no change, else nothing."""
    if metric["higher_is_better"] is None or metric["low"] is None or metric["low"] <= 0 <= metric["high"]:
        return ""
    return "better" if (metric["difference"] > 0) == metric["higher_is_better"] else "worse"
