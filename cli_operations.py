"""`ratchet doctor`, `ratchet backup` and `ratchet restore`: what keeps a deployment well."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from settings import get_settings

operations_app = typer.Typer()
console = Console()
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}


@operations_app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Do not read the artifacts, which may take a while.")] = False,
) -> None:
    """Check the deployment, and say the remedy of what is not well; exit code 1 when something fails."""
    from doctor import examine

    found = []
    for check in examine(get_settings(), quick):
        found.append(check)
        if not as_json:
            words = f"{check.name}: {check.detail} {check.remedy}".rstrip()
            console.print(Text.assemble((f"{check.state:<5}", _COLOURS[check.state]), words), soft_wrap=True)
    if as_json:
        print(json.dumps([asdict(check) for check in found], indent=2))
    sys.exit(1 if any(check.state == "fail" for check in found) else 0)


@operations_app.command()
def backup(file: Annotated[Path, typer.Argument(help="The tar file to write; it must not exist.")]) -> None:
    """Write database (SQLite), base, production and the version before it into one file, also while all runs."""
    from backup import write_backup

    settings = get_settings()
    with console.status("Writing the backup"):
        summary = write_backup(settings, file)
    versions = ", ".join(str(number) for number in summary.versions) or "none"
    console.print(
        f"Wrote {file}, {summary.size_bytes / 1e6:,.1f} MB, versions {versions}.", highlight=False, soft_wrap=True
    )
    if not summary.with_database:
        console.print(
            "PostgreSQL is not in it; save it with `pg_dump --format=custom --file=ratchet.dump DATABASE_URL`.",
            highlight=False,
            soft_wrap=True,
        )


@operations_app.command()
def restore(file: Annotated[Path, typer.Argument(help="A file that `ratchet backup` wrote.", exists=True)]) -> None:
    """Put a backup back into an empty RATCHET_VAR; every file is verified before anything is in its place."""
    from backup import restore_backup

    settings = get_settings()
    summary = restore_backup(settings, file)
    versions = ", ".join(str(number) for number in summary.versions) or "none"
    console.print(f"Restored {settings.var} with versions {versions}.", highlight=False, soft_wrap=True)
    if not summary.with_database:
        console.print("The database is not in the backup; restore it with `pg_restore`.", highlight=False)
