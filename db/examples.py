"""Queries on imported examples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data import vocabulary
from db.inserts import build_insert
from db.models import Example

_BATCH_ROWS = 1000


def add_examples(session: Session, examples: Sequence[vocabulary.Example], source: str, source_digest: str) -> int:
    """Import examples from the file `source` with that sha256, and return how many were not there already."""
    statement = build_insert(session, Example).on_conflict_do_nothing().returning(Example.id)
    # Two imports at once meet in one order, so that neither waits for the other.
    hashed = sorted((_hash(example), index) for index, example in enumerate(examples))
    imported = 0
    for start in range(0, len(hashed), _BATCH_ROWS):  # the parameters of all at once would fill the memory
        batch = [
            {
                "sha256": sha256,
                "context": examples[index].context,
                "response": examples[index].response,
                "rating": examples[index].rating,
                "source": source,
                "source_digest": source_digest,
            }
            for sha256, index in hashed[start : start + _BATCH_ROWS]
        ]
        imported += len(session.scalars(statement, batch).all())
    return imported


def count_examples(session: Session) -> int:
    """How many examples there are."""
    return session.scalar(select(func.count(Example.id))) or 0


def _hash(example: vocabulary.Example) -> str:
    parts = json.dumps([example.context, example.response, example.rating])
    return hashlib.sha256(parts.encode()).hexdigest()
