"""Shared fixtures and settings of all tests."""

from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["tests.apps", "tests.databases"]

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")

# What must be covered is covered by its own tests; to follow every line of all others costs a quarter of their time.
_MEASURED = [Path(__file__).parent / "unit" / name for name in ("data", "worker")]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that none of them is what all wait for; most stay out of the coverage."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)  # keeps the order within each half
    for item in items:
        if not any(item.path.is_relative_to(folder) for folder in _MEASURED):
            item.add_marker("no_cover")
