"""`ratchet raters` tells who is left out, also of one who was erased since."""

from __future__ import annotations

from pathlib import Path

from data.vocabulary import Rating
from db.erasure import erase_end_user
from db.feedback import FeedbackValues, put_feedback
from db.session import Database
from migrations.upgrade import upgrade_database
from tests.rows import add_client, add_completion
from tests.unit.test_cli import ratchet

LIKED = FeedbackValues(rater_kind="end_user", rating=Rating.UP)


def rate(database: Database) -> None:
    with database.transaction() as session:
        put_feedback(session, add_completion(session, add_client(session)).id, "bob", LIKED)


def test_excludes_lists_and_admits(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'ratchet.db'}"
    upgrade_database(url)
    database = Database(url)
    rate(database)
    excluded = ratchet(tmp_path, "raters", "exclude", "bob", "--reason", "pushes")
    assert "no run is needed" in excluded.stdout, excluded.stderr
    with database.transaction() as session:
        erase_end_user(session, "bob")
    assert "bob" not in ratchet(tmp_path, "raters", "list").stdout
    rate(database)
    assert "excluded" in ratchet(tmp_path, "raters", "list").stdout
    admitted = ratchet(tmp_path, "raters", "admit", "bob")
    assert "is undone" in admitted.stdout, admitted.stderr
    assert "excluded" not in ratchet(tmp_path, "raters", "list").stdout
    database.dispose()
