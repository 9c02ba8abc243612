"""Many processes write to one SQLite file under a long reader: nobody is turned away, no row is lost."""

from __future__ import annotations

import multiprocessing
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

from sqlalchemy import func, select

from data.vocabulary import Rating
from db.feedback import FeedbackValues, put_feedback
from db.models import Completion, Feedback
from db.session import Database
from tests.faults.conftest import Tell
from tests.faults.dose import TAKES_MINUTES, choose_dose
from tests.rows import add_client, add_completion

WRITERS = 8
ROWS = choose_dose(10, 500)  # of each writer


def write(url: str, barrier: Barrier, key_id: str) -> None:
    """One reply and its rating in each transaction, as the API writes them; any error ends the process with 1."""
    database = Database(url)
    barrier.wait()
    values = FeedbackValues(rater_kind="end_user", rating=Rating.UP)
    for _ in range(ROWS):
        with database.transaction() as session:
            put_feedback(session, add_completion(session, key_id).id, "ann", values)
    database.dispose()


@TAKES_MINUTES
def test_eight_writers_and_a_long_reader(tmp_path: Path, sqlite_template: Path, tell: Tell) -> None:
    path = tmp_path / "ratchet.db"
    path.write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{path}")
    with database.transaction() as session:
        key_id = add_client(session)
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(WRITERS + 1)
    writers = [spawn.Process(target=write, args=(f"sqlite:///{path}", barrier, key_id)) for _ in range(WRITERS)]
    for writer in writers:
        writer.start()
    count = select(func.count()).select_from(Completion)
    with database.reading() as reader:
        assert reader.scalar(count) == 0
        barrier.wait()
        started_s = time.monotonic()
        for writer in writers:
            writer.join()
        seconds = time.monotonic() - started_s
        assert reader.scalar(count) == 0  # one state throughout
    assert [writer.exitcode for writer in writers] == [0] * WRITERS
    with database.reading() as session:
        rows = session.scalar(count)
        assert session.scalar(select(func.count()).select_from(Feedback)) == rows
    database.dispose()
    assert rows == WRITERS * ROWS
    figures = f"{rows} of {WRITERS * ROWS} rows in {seconds:.1f} s, 0 locked"
    tell(f"SQLite, {WRITERS} writing processes and a long reader: {figures}")
