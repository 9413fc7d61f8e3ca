"""Registers the fixtures that all tests share."""

pytest_plugins = (
    "tests.fixtures.logs",
    "tests.fixtures.services",
    "tests.fixtures.database",
    "tests.fixtures.platform",
    "tests.fixtures.http",
)
