"""`ratchet raters`: who rates, how far each is believed, leaving one out and taking one back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from db.models import RaterExclusion
from db.overview import list_raters
from db.raters import admit_rater, exclude_rater, list_exclusion_ids, weigh_all_raters
from db.session import Database
from settings import get_settings

raters_app = typer.Typer(no_args_is_help=True, help="Raters: weights, exclusions.")
_ACTOR = "command line"
_RATERS = 1000
_console = Console()

RaterArgument = Annotated[str, typer.Argument(help="The name that `ratchet raters list` shows.")]


@raters_app.command("list")
def show_raters() -> None:
    """List the raters with the most ratings, their weights, and who is left out."""
    with _open_database() as database, database.reading() as session:
        weights, counts = weigh_all_raters(session), list_raters(session, _RATERS)
        excluded = list_exclusion_ids(session, [count.rater for count in counts])
    table = Table("rater", "kind", "ratings", "up", "weight", "compared", "state", box=None, pad_edge=False)
    for count in counts:
        weight = weights.get(count.rater) if count.kind != "reviewer" else None
        state = "excluded" if count.rater in excluded else "quarantined" if weight and weight.is_quarantined else ""
        total = count.ups + count.downs
        table.add_row(
            count.rater,
            count.kind,
            str(total),
            f"{count.ups / total:.0%}",
            f"{weight.weight:.2f}" if weight else "-",
            f"{weight.compared:g}" if weight else "-",
            state,
        )
    _console.print(table, highlight=False)


@raters_app.command("exclude")
def exclude(
    rater: RaterArgument,
    reason: Annotated[str, typer.Option(help="Why; it is kept in the audit trail.")],
) -> None:
    """Leave a rater's rows out of every later snapshot, and queue a run without them."""
    with _open_database() as database, database.transaction() as session:
        exclusion = exclude_rater(session, rater, reason, _ACTOR)
        sentence = _describe(exclusion)
    _console.print(sentence, highlight=False)


@raters_app.command("admit")
def admit(rater: RaterArgument) -> None:
    """Undo an exclusion: the rater's rows are in the next snapshot again."""
    with _open_database() as database, database.transaction() as session:
        exclusion_id = admit_rater(session, rater, _ACTOR).id
    _console.print(f"Exclusion {exclusion_id} is undone; the next snapshot holds the rows again.", highlight=False)


def _describe(exclusion: RaterExclusion) -> str:
    marked = ", ".join(map(str, exclusion.marked_versions)) or "none"
    if exclusion.retrain_run_id:
        then = f"Run {exclusion.retrain_run_id} trains without the rows."
    elif exclusion.interrupted_run_id:
        then = f"A run without the rows follows when run {exclusion.interrupted_run_id} has let go of them."
    else:
        then = "No snapshot held a row, so no run is needed."
    return f"Exclusion {exclusion.id}. Versions trained on the rows: {marked}. {then}"


@contextmanager
def _open_database() -> Iterator[Database]:
    """The database, closed in the end."""
    settings = get_settings()
    settings.var.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database)
    try:
        yield database
    finally:
        database.dispose()
