"""Schema migrations: Alembic, driven by `migrations.upgrade`."""
