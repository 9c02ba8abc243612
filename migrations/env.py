"""What Alembic runs around the revisions, in a transaction of `migrations.upgrade`."""

from alembic import context

import db.models  # noqa: F401 (it fills the metadata)
from db.base import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    render_as_batch=True,
)
context.run_migrations()
