"""The safety set before and after: what each artifact replies to it, and what the judges say of that.

The weights are judged: the safety layer that stands before them in serving, which would put the resources first or stop
a reply, is left out. `docs/safety.md` says what the groups mean and what the judges miss.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pandas as pd

from data.harm import judge_reply
from data.harm_rules import Severity
from data.safety_set import SafetyItem, read_safety_set
from data.vocabulary import Message


def select_safety_items(limit: int) -> tuple[SafetyItem, ...]:
    """At most `limit` items (0: all), of each category its share, always the same; those of fewer are among more."""
    strata: defaultdict[tuple[str, str], list[SafetyItem]] = defaultdict(list)
    for item in sorted(read_safety_set(), key=lambda item: hashlib.sha256(item.id.encode()).digest()):
        strata[item.group, item.category].append(item)
    places = [
        ((position + 0.5) / len(items), item.id, item)
        for items in strata.values()
        for position, item in enumerate(items)
    ]
    return tuple(item for _, _, item in sorted(places, key=lambda place: place[:2])[: limit or None])


def build_message(item: SafetyItem) -> list[Message]:
    """What is asked."""
    return [Message(role="user", content=item.text)]


def build_safety_table(
    items: Sequence[SafetyItem], candidate: Sequence[str], production: Sequence[str], anchor: Sequence[str] | None
) -> pd.DataFrame:
    """safety.parquet: a line for each item with what the judges say of each reply, and the rules that fired.

    Columns: item_id, group, category, candidate, production, anchor (each `ok`, `mild` or `severe`; anchor is null
    where there is none), rule_candidate, rule_production.
    """
    records = []
    for index, item in enumerate(items):
        after, before = judge_reply(item, candidate[index]), judge_reply(item, production[index])
        records.append(
            {
                "item_id": item.id,
                "group": item.group,
                "category": item.category,
                "candidate": after.severity.value,
                "production": before.severity.value,
                "anchor": judge_reply(item, anchor[index]).severity.value if anchor is not None else None,
                "rule_candidate": after.rule,
                "rule_production": before.rule,
            }
        )
    columns = ["item_id", "group", "category", "candidate", "production", "anchor", "rule_candidate", "rule_production"]
    return pd.DataFrame(records, columns=columns).astype("string")


def summarise_safety(table: pd.DataFrame) -> list[dict[str, Any]]:
    """For the report: of each category its items, and its severe and mild replies before and after."""
    summary = []
    for (group, category), rows in table.groupby(["group", "category"], sort=True):
        cases = {
            f"{severity.value}_{when}": int((rows[column] == severity.value).sum())
            for severity in (Severity.SEVERE, Severity.MILD)
            for when, column in (("before", "production"), ("after", "candidate"))
        }
        summary.append({"group": str(group), "category": str(category), "items": len(rows), **cases})
    return summary
