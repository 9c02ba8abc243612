"""The errors of the database layer.

RatchetError
├── LeaseLost            a run that another worker holds, or that has ended
├── DatabaseUrlInvalid   a URL of no database that this program speaks to
├── DatabaseTooNew       a schema that this program does not know
└── MigrationBusy        another process is migrating and does not finish
"""

from __future__ import annotations

from data.errors import RatchetError


class LeaseLost(RatchetError):
    """The run has ended, or another worker has claimed it; stop, and publish nothing."""


class DatabaseUrlInvalid(RatchetError):
    """RATCHET_DATABASE_URL is no URL of PostgreSQL or SQLite; write postgresql://user:password@host/name, or none."""


class DatabaseTooNew(RatchetError):
    """A newer Ratchet has migrated this database; run that one, or restore an older copy of the database."""


class MigrationBusy(RatchetError):
    """Another process has been migrating this database for too long; end it and try again."""
