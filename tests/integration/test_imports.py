"""Hostile files by HTTP, against a server in a process of its own: refused or imported whole, in bounded memory."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil
import pytest

from data.ingestion import MAX_ROWS
from data.vocabulary import KeyRole
from db.examples import count_examples
from db.keys import create_key
from db.session import Database
from tests.processes import run_api
from tests.unit.api.live import Artifacts, add_base_version, build_settings

MAX_GROWTH_BYTES = 300_000_000
HEADER = b"Context,Response\n"
TOO_MANY_ROWS = HEADER + b"a,b\n" * 10_000_000
RAGGED_ROWS = HEADER + b"a,b\n" + b"a,b,c\na\n" * 500_000
GZIP_BOMB = gzip.compress(HEADER + b"a,b\n" * 100_000_000, 1)
LONG_ROWS = HEADER + b"".join(b"%d %s,%s\n" % (row, b"why " * 3_000, b"so " * 4_000) for row in range(2_000))
MOST_ROWS = HEADER + b"".join(b"context %d,response\n" % row for row in range(MAX_ROWS))
FORMULAS = HEADER + b'=1+1,"=HYPERLINK(""http://x"")"\n@SUM(A1),+1\n'
pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Importer:
    """A server process, an admin who uploads to it, and its database."""

    process: psutil.Process
    admin: httpx.Client
    database: Database

    def upload(self, content: bytes, name: str) -> httpx.Response:
        """The answer to an import, which may cost only so much memory."""
        idle_bytes = self.process.memory_info().rss
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")  # the peak counts from now on
        response = self.admin.post("/v1/admin/examples", files={"file": (name, content)})
        grown_bytes = self._read_peak_bytes() - idle_bytes
        assert grown_bytes < MAX_GROWTH_BYTES, f"{grown_bytes / 1e6:.0f} MB more"
        return response

    def count(self) -> int:
        """Examples in the database."""
        with self.database.reading() as session:
            return count_examples(session)

    def _read_peak_bytes(self) -> int:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))


@pytest.fixture(scope="module")
def importer(
    tmp_path_factory: pytest.TempPathFactory, sqlite_template: Path, artifacts: Artifacts, broker_url: str
) -> Iterator[Importer]:
    folder = tmp_path_factory.mktemp("var")
    settings = build_settings(folder, sqlite_template, artifacts, broker_url)
    database = Database(settings.database)
    add_base_version(database, artifacts)
    with database.transaction() as session:
        _, secret = create_key(session, KeyRole.ADMIN, "an admin")
    headers = {"Authorization": f"Bearer {secret}"}
    with (
        run_api(settings, tmp_path_factory.mktemp("log") / "api.log") as (address, process),
        httpx.Client(base_url=address, headers=headers, timeout=300) as admin,
    ):
        yield Importer(process, admin, database)
    database.dispose()


@pytest.mark.parametrize(
    ("content", "name", "reason"),
    [
        pytest.param(GZIP_BOMB, "bomb.csv.gz", "unpacks to more than", id="gzip bomb"),
        pytest.param(TOO_MANY_ROWS, "long.csv", "more than", id="ten million rows"),
        pytest.param(RAGGED_ROWS, "ragged.csv", "1,000,000 problems", id="ragged rows"),
    ],
)
def test_refuses_and_imports_nothing(importer: Importer, content: bytes, name: str, reason: str) -> None:
    response = importer.upload(content, name)
    assert response.status_code == 400
    assert reason in response.json()["detail"]
    assert importer.count() == 0


def test_imports_formulas_as_the_texts_that_they_are(importer: Importer) -> None:
    assert importer.upload(FORMULAS, "formulas.csv").json()["imported"] == 2
    assert importer.count() == 2


@pytest.mark.parametrize(
    ("content", "rows"),
    [pytest.param(MOST_ROWS, MAX_ROWS, id="as many rows"), pytest.param(LONG_ROWS, 2_000, id="as many bytes")],
)
def test_imports_as_much_as_it_allows(importer: Importer, content: bytes, rows: int) -> None:
    before = importer.count()
    assert importer.upload(content, "most.csv").json()["imported"] == rows
    assert importer.count() == before + rows
