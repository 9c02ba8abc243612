"""The `ratchet` command. Exit code 0: done; 1: could not be done, one sentence on stderr; 2: wrong usage."""

from __future__ import annotations

import contextlib
import getpass
import hashlib
import json
import os
import signal
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from cli_errors import EXPECTED, describe_error
from cli_holdout import holdout_app
from cli_operations import operations_app
from cli_raters import raters_app
from cli_safety import safety_app
from data.errors import InvalidDataset, InvalidRecipe, RatchetError
from data.ingestion import read_examples
from data.recipe import build_recipe
from data.vocabulary import KeyRole
from db import promotions, runs, versions
from db.examples import add_examples
from db.keys import create_key, list_keys, revoke_key
from db.session import Database
from settings import Settings, get_settings

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help="Turns thumbs into better weights.")
keys_app = typer.Typer(no_args_is_help=True, help="Keys of clients, reviewers and admins.")
db_app = typer.Typer(no_args_is_help=True, help="The database.")
app.add_typer(keys_app, name="keys")
app.add_typer(db_app, name="db")
app.add_typer(safety_app, name="safety")
app.add_typer(holdout_app, name="holdout")
app.add_typer(raters_app, name="raters")
app.add_typer(operations_app)
console, errors = Console(), Console(stderr=True)

_WORKER_ANSWER_S = 3.0  # how long `improve --wait` waits for a sign of a worker


def main() -> None:
    """Entry point: what a person can have caused becomes one sentence and exit code 1."""
    try:
        app()
    except EXPECTED as error:
        sentence, *details = describe_error(error)
        errors.print(sentence, style="red", highlight=False, markup=False)  # a path may hold brackets
        for detail in details:
            errors.print(detail, highlight=False, markup=False)
        sys.exit(1)


@app.command()
def up() -> None:
    """Start everything on this machine: broker, database, API, worker, beat; stop it with Ctrl-C or SIGTERM."""
    from stack import Stack, lock_folder

    settings = get_settings()
    with lock_folder(settings.var):
        stack = Stack(settings)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stack.stop())
        _upgrade(settings)
        _prepare_base(settings)
        with stack.broker(), stack.processes():
            console.print(f"Starting on http://{settings.host}:{settings.port}; logs are in {settings.var / 'logs'}.")
            if settings.pages:
                console.print("Open it in a browser, and sign in with a key of `ratchet keys create --role admin`.")
            stack.supervise()


@app.command()
def api() -> None:
    """Serve HTTP."""
    from api.app import create_app
    from api.server import serve

    settings = get_settings()
    with _open_database():
        pass  # a wrong URL or folder would end in a traceback once the app has it
    serve(create_app(settings), settings)


class QueueChoice(StrEnum):
    """What a worker carries out."""

    TRAIN = "train"  # runs; needs the packages of training
    DEFAULT = "default"  # the sweep and what else is short


@app.command()
def worker(
    queue: Annotated[list[QueueChoice] | None, typer.Option(help="Only this queue; all without it.")] = None,
) -> None:
    """Carry out runs and sweeps."""
    from worker.base import ensure_base
    from worker.queue import get_celery

    settings = get_settings()
    _require_broker(settings)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until the worker listens to it
    queues = queue or list(QueueChoice)
    if QueueChoice.TRAIN in queues:
        ensure_base(settings, Database(settings.database))
    get_celery().worker_main(
        [
            "worker",
            f"--queues={','.join(queues)}",
            f"--hostname={'-'.join(queues)}@%h",
            "--pool=threads",
            "--concurrency=4",
            "--loglevel=WARNING",
            "--without-gossip",
            "--without-mingle",
        ]
    )


@app.command()
def beat() -> None:
    """Send the tick that sweeps lost nudges and dead runs, and starts scheduled runs."""
    from worker.queue import get_celery

    _require_broker(get_settings())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # until beat listens to it
    get_celery().Beat(loglevel="WARNING").run()


@db_app.command("upgrade")
def upgrade_database_command() -> None:
    """Bring the database to the newest schema."""
    settings = get_settings()
    settings.var.mkdir(parents=True, exist_ok=True)
    console.print(f"The database is at revision {_upgrade(settings)}.")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(help="CSV or JSONL with Context, Response and optionally rating; .gz too.")],
) -> None:
    """Import examples, all or nothing."""
    with _open_database() as database, console.status(f"Reading {file.name}"):
        if not file.is_file():
            raise InvalidDataset(f"There is no file {file}; check the path.")
        result = read_examples(file, file.name)
        with database.transaction() as session:
            added = add_examples(session, result.examples, source=file.name, source_digest=_digest(file))
    known = len(result.examples) - added
    console.print(f"Read {result.rows_read} rows: {added} new, {known} already there.", highlight=False)
    for reason, count in sorted(result.dropped.items()):
        console.print(f"  left out, {reason}: {count}", highlight=False)


@app.command()
def improve(
    wait: Annotated[bool, typer.Option("--wait", help="Stay until the run has its outcome.")] = False,
    recipe: Annotated[Path | None, typer.Option(help="TOML file with recipe fields.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="One recipe field, as name=value.")] = None,
) -> None:
    """Queue a run that trains, evaluates and perhaps promotes a new version."""
    from waiting import await_run
    from worker.queue import get_celery, send_nudge

    values = _read_recipe(recipe, set_ or [])
    with _open_database() as database:
        with database.transaction() as session:
            run = runs.create_run(session, build_recipe(values).to_dict(), "command_line")
            runs.mark_nudged(session, run.id)
        settings = get_settings()
        nudged = bool(settings.broker) and send_nudge(run.id)
        console.print(f"Queued {run.id}.", highlight=False)
        if not wait:
            return
        if not nudged or not get_celery().control.ping(timeout=_WORKER_ANSWER_S):
            raise RatchetError(
                f"No worker answers, so {run.id} stays queued; start `ratchet up` (or `ratchet worker`) and it begins."
            )
        sys.exit(await_run(console, database, run.id))


@app.command("runs")
def show_runs() -> None:
    """List the newest runs."""
    with _open_database() as database, database.reading() as session:
        found = runs.list_runs(session)
    table = Table("run", "started", "status", "version", "why", box=None, pad_edge=False)
    for run in found:
        table.add_row(
            run.id, _format_time(run.created_at_s), run.status, _or_dash(run.version_number), run.reason or ""
        )
    console.print(table if found else "There are no runs yet; start one with `ratchet improve`.")


@app.command("versions")
def show_versions() -> None:
    """List the versions, the one in production marked."""
    with _open_database() as database, database.reading() as session:
        found = versions.list_versions(session)
        production = promotions.get_production(session).number if found else None
    table = Table("version", "made", "digest", "run", "", box=None, pad_edge=False)
    for version in found:
        mark = "production" if version.number == production else ""
        table.add_row(
            str(version.number),
            _format_time(version.created_at_s),
            version.digest[:12],
            version.run_id or "base",
            mark,
        )
    console.print(table if found else "There are no versions yet; `ratchet up` makes version 0 from the base model.")


@app.command()
def promote(
    number: Annotated[int, typer.Argument(help="Version number.")],
    reason: Annotated[str, typer.Option(help="Why; kept in the audit trail.")],
) -> None:
    """Put a version into production past the gate; the running API follows within seconds."""
    with _open_database() as database, database.transaction() as session:
        promotions.promote(session, number, "manual", reason, getpass.getuser())
    console.print(f"Version {number} is in production.")


@app.command()
def rollback(
    reason: Annotated[str, typer.Option(help="Why; kept in the audit trail.")] = "rolled back on the command line",
) -> None:
    """Go back to the version that was in production before."""
    with _open_database() as database, database.transaction() as session:
        promotion = promotions.rollback(session, getpass.getuser(), reason)
    console.print(f"Version {promotion.version_number} is in production again.")


@keys_app.command("create")
def create_key_command(
    role: Annotated[KeyRole, typer.Option(help="What its holder may do.")],
    name: Annotated[str, typer.Option(help="Whose it is.")] = "",
) -> None:
    """Create a key and print it, and only it; it is shown this once."""
    with _open_database() as database, database.transaction() as session:
        _, secret = create_key(session, role, name or role.value)
    print(secret)


@keys_app.command("list")
def show_keys() -> None:
    """List the keys without their secrets."""
    with _open_database() as database, database.reading() as session:
        found = list_keys(session)
    table = Table("key", "role", "name", "begins", "made", "", box=None, pad_edge=False)
    for key in found:
        mark = "revoked" if key.revoked_at_s else ""
        table.add_row(key.id, key.role, key.name, f"{key.prefix}…", _format_time(key.created_at_s), mark)
    console.print(table if found else "There are no keys yet; make one with `ratchet keys create --role client`.")


@keys_app.command("revoke")
def revoke_key_command(key_id: Annotated[str, typer.Argument(help="The id that `ratchet keys list` shows.")]) -> None:
    """Refuse a key from now on."""
    with _open_database() as database, database.transaction() as session:
        key = revoke_key(session, key_id)
    console.print(f"Key {key.id} ({key.name}) is refused from now on.", highlight=False)


@app.command()
def tensorboard(port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 6006) -> None:
    """Show the curves of all runs in a browser, from this machine only; stop it with Ctrl-C."""
    from importlib.util import find_spec

    if find_spec("tensorboard") is None:
        raise RatchetError("TensorBoard is not installed; run `pip install .[train]` in the checkout.")
    folder = get_settings().runs.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    console.print(f"Runs in {folder} on http://127.0.0.1:{port}", highlight=False, soft_wrap=True)
    sys.stdout.flush()
    words = ["--logdir", str(folder), "--host", "127.0.0.1", "--port", str(port), "--load_fast", "false"]
    os.execv(sys.executable, [sys.executable, "-W", "ignore", "-m", "tensorboard.main", *words])


@app.command()
def demo() -> None:
    """Show the whole loop on the samples: chat, rate, train, judge, promote; empties `demo` in RATCHET_VAR first."""
    from demo import run_demo

    sys.exit(run_demo(console))


@contextlib.contextmanager
def _open_database() -> Iterator[Database]:
    """The database of the settings, closed afterwards."""
    settings = get_settings()
    settings.var.mkdir(parents=True, exist_ok=True)
    database = Database(settings.database)
    try:
        yield database
    finally:
        database.dispose()


def _upgrade(settings: Settings) -> str:
    from migrations.upgrade import head_revision, upgrade_database

    upgrade_database(settings.database)
    return head_revision()


def _prepare_base(settings: Settings) -> None:
    """Make sure of version 0, and say so where it has to be made, which may take minutes."""
    from worker.base import ensure_base, find_base

    database = Database(settings.database)
    doing = f"Preparing the base model {settings.base_model} (once)"
    if not console.is_terminal and find_base(database) is None:
        console.print(f"{doing}.", highlight=False, markup=False)  # nothing turns there
    with console.status(doing):
        ensure_base(settings, database)


def _require_broker(settings: Settings) -> None:
    if not settings.broker:
        raise RatchetError("No broker is running: start everything with `ratchet up`, or set RATCHET_BROKER_URL.")


def _read_recipe(file: Path | None, assignments: list[str]) -> dict[str, Any]:
    """Recipe fields from a TOML file and from `name=value` assignments, which win; values are read as JSON."""
    try:
        values: dict[str, Any] = tomllib.loads(file.read_text()) if file else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidRecipe(f"The recipe {file} cannot be read: {error}.") from error
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals:
            raise InvalidRecipe(f"--set wants name=value, not {assignment!r}.")
        try:
            values[name] = json.loads(value)
        except ValueError:
            values[name] = value  # a plain word, such as last:4
    return values


def _format_time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).astimezone().strftime("%Y-%m-%d %H:%M")


def _or_dash(value: object) -> str:
    return "-" if value is None else str(value)


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


if __name__ == "__main__":
    main()
