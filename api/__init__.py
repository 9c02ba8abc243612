"""The HTTP interface: routes, schemas, keys, errors. Never imports torch, not even indirectly."""
