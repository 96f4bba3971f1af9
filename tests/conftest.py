"""Fixtures of the whole test tree."""

pytest_plugins = ["tests.support.postgres"]
