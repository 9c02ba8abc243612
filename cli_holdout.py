"""`ratchet holdout`: what the hold-out has been used for, and how a new one is drawn."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from rich.console import Console

from db.holdouts import get_holdout, open_holdout
from db.session import Database
from settings import get_settings

holdout_app = typer.Typer(no_args_is_help=True, help="The hold-out that candidates are judged on.")
console = Console(width=120)


@holdout_app.callback()
def _group() -> None:
    """The hold-out that candidates are judged on."""


@holdout_app.command()
def show() -> None:
    """Say what is left of the hold-out's budget."""
    database = Database(get_settings().database)
    try:
        with database.reading() as session:
            holdout = get_holdout(session)
    finally:
        database.dispose()
    console.print(f"Hold-out {holdout.number}. {holdout.budget.describe()}", highlight=False)
    if holdout.budget.is_retired:
        console.print("It is retired: no run is judged until `ratchet holdout renew`.")


@holdout_app.command()
def renew(reason: Annotated[str, typer.Option(help="Why; it is kept.")]) -> None:
    """Draw a new hold-out with a whole budget. Every row is dealt anew, so training rows become held-out ones."""
    database = Database(get_settings().database)
    try:
        with database.transaction() as session:
            holdout = open_holdout(session, getpass.getuser(), reason)
    finally:
        database.dispose()
    console.print(f"Hold-out {holdout.number} is in use. {holdout.budget.describe()}", highlight=False)
