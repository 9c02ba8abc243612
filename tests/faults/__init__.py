"""Faults on purpose, in real processes, and what holds when they come: `docs/faults.md` lists them with figures."""
