"""What a scenario has come to so far, in a file after each cycle: three may take longer than a laptop stays on."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.provenance import save_json


@dataclass(kw_only=True)
class Journal:
    """The cycles that are over.

    Attributes:
        file: where it is kept; None keeps it nowhere.
        settings: what must stay the same when it is gone on with.
        cycles: the figures of each.
        snapshot: of the first run that had one; its hold-out tells what is forgotten. Empty before.
        after_first: the artifact that answered after that run.
    """

    file: Path | None
    settings: dict[str, Any]
    cycles: list[dict[str, Any]] = field(default_factory=list)
    snapshot: str = ""
    after_first: str = ""

    def note(self, told: dict[str, Any], snapshot: Path | None, production: Path) -> None:
        """Put down a cycle."""
        self.cycles.append(told)
        if snapshot and not self.snapshot:
            self.snapshot, self.after_first = str(snapshot.absolute()), str(production.absolute())
        if self.file:
            save_json(self.file, {name: value for name, value in vars(self).items() if name != "file"})


def read_journal(file: Path, settings: dict[str, Any]) -> Journal:
    """The journal of an earlier call.

    Raises:
        ValueError: there is none, or it was kept with other settings.
    """
    if not file.exists():
        raise ValueError(f"There is nothing to go on with: {file} is missing. Leave --go-on out to begin.")
    journal = Journal(file=file, **json.loads(file.read_text()))
    if different := sorted(name for name in settings if settings[name] != journal.settings.get(name)):
        raise ValueError(
            f"{file} was kept with another {' and '.join(different)}; name the same, or leave --go-on out."
        )
    return journal
