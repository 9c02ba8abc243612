"""Shared fixtures and settings of all tests."""

from hypothesis import settings

pytest_plugins = ["tests.apps", "tests.databases"]

settings.register_profile("shared-machine", deadline=None)
settings.load_profile("shared-machine")
