"""No name of ours is claimed by somebody else."""

import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import packages_distributions

from tests.architecture.source import PACKAGES, PROJECT

OURS = (*PACKAGES, "tests")


def claimed_by_others(distributions: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
    """Return which of our top-level names which distributions other than Varve install."""
    claims = {name: sorted(set(distributions.get(name, ())) - {"varve"}) for name in OURS}
    return {name: others for name, others in claims.items() if others}


def hidden_library_modules(names: Iterable[str]) -> set[str]:
    return set(names) & sys.stdlib_module_names


def test_no_installed_dependency_claims_a_name_of_ours():
    assert claimed_by_others(packages_distributions()) == {}


def test_no_module_beside_the_launcher_has_the_name_of_a_library_module():
    # `python3 varve` runs the folder: for a moment its files stand before the standard library's.
    assert hidden_library_modules(path.stem for path in (PROJECT / "varve").iterdir()) == set()


def test_a_dependency_that_claims_a_name_of_ours_is_found():
    claims = {"tests": ["careless"], "workers": ["varve", "queue-kit"], "rich": ["rich"]}
    assert claimed_by_others(claims) == {"tests": ["careless"], "workers": ["queue-kit"]}


def test_a_module_with_the_name_of_a_library_module_is_found():
    assert hidden_library_modules(["settings", "logging"]) == {"logging"}
