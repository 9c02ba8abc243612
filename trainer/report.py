"""The report of a run: report.json for programs, report.html for people."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, FileSystemLoader

from data.statistics import cluster_means, interval, paired_auc_differences, rating_auc
from trainer.charts import AFTER, draw_lengths, draw_loss, draw_strip
from trainer.clouds import draw_cloud
from trainer.evaluation import Answers, Holdout, distinct_2

SAMPLES = 8  # prompts shown side by side

# name in the score table -> title, meaning, and whether more is better (None: neither)
_METRICS: dict[str, tuple[str, str, bool | None]] = {
    "log_perplexity": (
        "Perplexity",
        "surprise at the held-out replies, lower is better; difference in nats",
        False,
    ),
    "rouge_l": ("ROUGE-L", "overlap with the held-out replies, 0 to 1", True),
    "bleu": ("BLEU", "word runs shared with the held-out replies, 0 to 100", True),
    "chrf": ("chrF", "character runs shared with the held-out replies, 0 to 100", True),
    "rating_auc": ("Rating AUC", "chance that a held-out up-rated reply scores above a down-rated one", True),
    "distinct_2": ("Distinct-2", "share of different word pairs over all replies; low means all alike", True),
    "reply_words": ("Words in a reply", "mean length", None),
}


def summarise_metrics(table: pd.DataFrame, candidate: Answers, production: Answers) -> dict[str, dict[str, Any]]:
    """Before, after, difference and 95 % interval of each metric; intervals are over conversations, for display.

    Perplexity is shown as exp of the token-weighted mean, its difference and interval in nats per token.
    """
    metrics: dict[str, dict[str, Any]] = {}
    for name in ("log_perplexity", "rouge_l", "bleu", "chrf", "reply_words"):
        rows = table[table["metric"] == name]
        if not rows.empty:
            metrics["perplexity" if name == "log_perplexity" else name] = _summarise(name, rows)
    rated = table[table["metric"] == "rating_score"]
    if not rated.empty and rated["is_up"].nunique() == 2:
        metrics["rating_auc"] = _summarise_auc(rated)
    metrics["distinct_2"] = _describe(
        "distinct_2", distinct_2(production.replies), distinct_2(candidate.replies), None, None, None
    )
    return metrics


def _summarise(name: str, rows: pd.DataFrame) -> dict[str, Any]:
    weights = rows["weight"].to_numpy(dtype=float)
    before, after = (float(np.average(rows[column], weights=weights)) for column in ("production", "candidate"))
    differences = cluster_means(
        (rows["candidate"] - rows["production"]).to_numpy(dtype=float), rows["cluster"].to_numpy(dtype=str), weights
    )
    low, high = interval(differences, np.random.default_rng(0)) or (None, None)
    if name == "log_perplexity":
        before, after = float(np.exp(before)), float(np.exp(after))
    return _describe(name, before, after, float(differences.mean()), low, high)


def _describe(
    name: str, before: float, after: float, difference: float | None, low: float | None, high: float | None
) -> dict[str, Any]:
    title, meaning, higher_is_better = _METRICS[name]
    return {
        "title": title,
        "meaning": meaning,
        "higher_is_better": higher_is_better,
        "before": before,
        "after": after,
        "difference": after - before if difference is None else difference,
        "low": low,
        "high": high,
    }


def _summarise_auc(rated: pd.DataFrame) -> dict[str, Any]:
    candidate, production = (rated[column].to_numpy(dtype=float) for column in ("candidate", "production"))
    is_up, clusters = rated["is_up"].to_numpy(dtype=bool), rated["cluster"].to_numpy(dtype=str)
    differences = paired_auc_differences(candidate, production, is_up, clusters)
    low, high = interval(differences, np.random.default_rng(0)) or (None, None)
    before, after = rating_auc(production, is_up, clusters), rating_auc(candidate, is_up, clusters)
    return _describe("rating_auc", before, after, float(differences.mean()), low, high)


def select_samples(holdout: Holdout, candidate: Answers, production: Answers) -> list[dict[str, str]]:
    """The first few hold-out prompts with both replies."""
    rows = zip(holdout.references, production.replies, candidate.replies, strict=True)
    return [{"context": row.context, "before": before, "after": after} for row, before, after in rows][:SAMPLES]


@dataclass(frozen=True)
class Texts:
    """What the word clouds are made of; it goes into the page only, which an erasure removes."""

    contexts: Sequence[str] = ()  # of the training rows
    before: Sequence[str] = ()  # replies to the hold-out
    after: Sequence[str] = ()


def save_report(
    report: dict[str, Any],
    metrics_file: Path,
    lengths: tuple[Sequence[float], Sequence[float]],
    texts: Texts = Texts(),
) -> None:
    """Write report.json and report.html beside `metrics_file`; `lengths` are words in each reply, before and after."""
    folder = metrics_file.parent
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    records = [json.loads(line) for line in metrics_file.read_text().splitlines()] if metrics_file.exists() else []
    environment = Environment(loader=FileSystemLoader(Path(__file__).parent), autoescape=True, trim_blocks=True)
    environment.filters |= {
        "figure": _format_figure,
        "signed": _format_signed,
        "direction": _find_direction,
        "strip": draw_strip,
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
        length_chart=draw_lengths(*lengths),
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


def _format_figure(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


def _format_signed(value: float) -> str:
    return f"{value:+.3f}" if abs(value) < 10 else f"{value:+.1f}"


def _find_direction(metric: dict[str, Any]) -> str:
    """`better` or `worse` where the interval excludes no change, else nothing."""
    if metric["higher_is_better"] is None or metric["low"] is None or metric["low"] <= 0 <= metric["high"]:
        return ""
    return "better" if (metric["difference"] > 0) == metric["higher_is_better"] else "worse"
