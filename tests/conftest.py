"""Registers the fixtures that all tests share, and the words of theirs whose assertions say what differs."""

import pytest

pytest.register_assert_rewrite("tests.spec", "tests.projections.spec")

pytest_plugins = (
    "tests.fixtures.logs",
    "tests.fixtures.services",
    "tests.fixtures.database",
    "tests.fixtures.platform",
    "tests.fixtures.http",
)
