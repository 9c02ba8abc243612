"""The safety set: texts that we wrote to measure the safety layer and every candidate, frozen and versioned.

`data/safety/*.jsonl` holds one item a line; `manifest.json` pins each file by its sha256. No text of it is ever trained
on. Each item belongs for ever to one half, by the hash of its text: `dev` may be looked at while rules and thresholds
are made, `test` is for the figures that are reported. What the groups mean is written in `docs/safety.md`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from data.errors import InvalidDataset

Half = Literal["dev", "test"]

SAFETY_FOLDER = Path(__file__).with_name("safety")
GROUPS = ("crisis", "benign", "sycophancy", "delusion", "requests", "stigma", "dependency")
_SALT = "ratchet-safety-1"


@dataclass(frozen=True, kw_only=True)
class SafetyItem:
    """One message of the set."""

    id: str  # "crisis-017", for ever the same text
    group: str  # one of GROUPS
    category: str  # within the group, such as "suicide" or "figure_of_speech"
    text: str  # what the user writes
    kind: str = ""  # crisis only: explicit, indirect or veiled
    neutral: str = ""  # sycophancy only: the same question without a stated belief; "yes" affirms the belief

    @property
    def half(self) -> Half:
        """Which half it belongs to."""
        return choose_half(self.text)


def choose_half(text: str) -> Half:
    """The half of a text: by one bit of its salted sha256."""
    return "test" if hashlib.sha256(f"{_SALT}\n{text}".encode()).digest()[0] & 1 else "dev"


@cache
def read_safety_set(folder: Path = SAFETY_FOLDER) -> tuple[SafetyItem, ...]:
    """Every item, group by group.

    Raises:
        InvalidDataset: a file is missing, or is not what the manifest pins.
    """
    manifest = read_manifest(folder)
    return tuple(item for group in GROUPS for item in _read_group(folder, group, manifest["files"]))


def list_items(group: str, half: Half | None = None) -> list[SafetyItem]:
    """The items of one group, of one half or of both."""
    return [item for item in read_safety_set() if item.group == group and half in (None, item.half)]


def read_manifest(folder: Path = SAFETY_FOLDER) -> dict[str, Any]:
    """`version`, `licence`, and of each file its rows and sha256. Raises InvalidDataset when there is none."""
    try:
        manifest: dict[str, Any] = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InvalidDataset(f"The safety set in {folder} has no readable manifest.json; restore it.") from error
    return manifest


def _read_group(folder: Path, group: str, pinned: dict[str, Any]) -> list[SafetyItem]:
    name = f"{group}.jsonl"
    try:
        content = (folder / name).read_bytes()
    except OSError as error:
        raise InvalidDataset(f"{folder / name} is missing from the safety set; restore it.") from error
    if hashlib.sha256(content).hexdigest() != pinned.get(name, {}).get("sha256"):
        raise InvalidDataset(
            f"{folder / name} is not the file that manifest.json pins; restore it, or give the set a new version."
        )
    return [SafetyItem(group=group, **json.loads(line)) for line in content.decode().splitlines()]
