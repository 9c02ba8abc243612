"""Waiting for a database that is away: it costs a run time, and none of its attempts."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

import structlog
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from db.session import Database

log = structlog.get_logger()

Result = TypeVar("Result")
Work = Callable[[Session], Result]

WAIT_S = 600.0
_PAUSE_S = 1.0


class PatientDatabase:
    """Does a transaction again while the database is away, for `wait_s` seconds at most.

    The work must come right when it is done twice: a commit whose answer was lost may have happened. `check` is called
    before each new try, and what it raises ends the wait.
    """

    def __init__(self, database: Database, check: Callable[[], None], wait_s: float = WAIT_S) -> None:
        self._database, self._check, self._wait_s = database, check, wait_s

    @property
    def url(self) -> str:
        """See `Database.url`."""
        return self._database.url

    def write(self, work: Work[Result]) -> Result:
        """What the work returns, in a transaction.

        Raises:
            SQLAlchemyError: the database was away all the time, or it is at fault in another way.
        """
        return self._insist(self._database.transaction, work)

    def read(self, work: Work[Result]) -> Result:
        """What the work returns, in a transaction that refuses to write; see `write`."""
        return self._insist(self._database.reading, work)

    def _insist(self, begin: Callable[[], AbstractContextManager[Session]], work: Work[Result]) -> Result:
        until_s = time.monotonic() + self._wait_s
        while True:
            try:
                with begin() as session:
                    return work(session)
            except (OperationalError, InterfaceError, PoolTimeout) as error:
                if time.monotonic() >= until_s:
                    raise
                log.warning("database is away", action="run_waits", error=type(error).__name__)
            threading.Event().wait(_PAUSE_S)
            self._check()
