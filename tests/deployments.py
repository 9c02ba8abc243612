"""A deployment in a folder, without processes: settings on the tiny model, the samples' examples, version 0."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from data.vocabulary import Example
from db.examples import add_examples
from db.session import Database
from settings import Settings
from tests.tiny import SAMPLES, build_tiny_gpt2
from worker.base import ensure_base


def build_deployment(folder: Path, sqlite_template: Path) -> Settings:
    """An embedded deployment on the tiny model."""
    shutil.copy(sqlite_template, folder / "ratchet.db")
    base = build_tiny_gpt2(folder / "tiny")
    return Settings(_env_file=None, var=folder, base_model=str(base), trunk_cache_gb=0, trainer_threads=1)


@contextmanager
def open_deployment(settings: Settings, examples: Sequence[Example]) -> Iterator[Database]:
    """Its database with version 0 and these examples."""
    database = Database(settings.database)
    ensure_base(settings, database)
    with database.transaction() as session:
        add_examples(session, examples, "support.csv", "abc")
    yield database
    database.dispose()


def read_samples() -> list[Example]:
    """The examples of data/samples/support.csv."""
    with (SAMPLES / "support.csv").open(newline="") as file:
        return [Example(context=row["Context"], response=row["Response"]) for row in csv.DictReader(file)]
