"""The top level of the repository is fixed; each name has its reason."""

from collections.abc import Iterable
from fnmatch import fnmatch

from tests.architecture.source import PACKAGES, PROJECT

REASONS = {
    **dict.fromkeys(PACKAGES, "product code, in the wheel"),
    "tests": "tests of all of it",
    "docs": "decisions, how-to and operations pages; no product code",
    "deploy": "the image and what runs it; no product code",
    "benchmarks": "measurements with commands of their own, and their results",
    "examples": "documents that the demonstration takes in",
    "README.md": "how to begin",
    "CONTRIBUTING.md": "how to add something",
    "CHANGELOG.md": "what changed, for users",
    "LICENSE": "Apache-2.0",
    "pyproject.toml": "metadata, dependencies and the settings of the tools",
    "requirements.lock": "every dependency, pinned and hashed",
    "docker-compose.yml": "the whole system in containers",
    ".ci": "what must hold before a merge",
    ".git": "the repository itself",
    ".gitignore": "what is not in it",
    ".importlinter": "the contracts between our packages",
}


def without_reason(names: Iterable[str], ignored: Iterable[str]) -> set[str]:
    """Return the names that are neither listed nor matched by a pattern of `.gitignore`."""
    patterns = [pattern.rstrip("/") for pattern in ignored if pattern and not pattern.startswith("#")]
    return {name for name in names if name not in REASONS and not any(fnmatch(name, p) for p in patterns)}


def test_everything_at_the_top_level_has_a_reason():
    ignored = (PROJECT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert without_reason((path.name for path in PROJECT.iterdir()), ignored) == set()


def test_a_name_without_a_reason_is_found():
    assert without_reason(["utils", "domain", "varve.egg-info"], ["*.egg-info/", ""]) == {"utils"}
