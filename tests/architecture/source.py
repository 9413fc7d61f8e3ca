"""The project's own modules as syntax trees, and what they import."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
PACKAGES = ("domain", "commands", "queries", "projections", "eventstore", "api", "workers", "varve")
SHARED = "shared"


@dataclass(frozen=True)
class Module:
    """A module of ours; `is_package` says that its name is that of a folder."""

    name: str
    tree: ast.Module
    is_package: bool = False

    @property
    def package(self) -> str:
        return self.name.split(".")[0]

    def is_within(self, prefix: str) -> bool:
        return self.name == prefix or self.name.startswith(f"{prefix}.")


def module(name: str, source: str) -> Module:
    """Return what a test writes down as a module of ours."""
    return Module(name, ast.parse(source))


def our_modules() -> Iterator[Module]:
    """Yield every Python file of the product."""
    for package in PACKAGES:
        for path in sorted((PROJECT / package).rglob("*.py")):
            parts = path.relative_to(PROJECT).with_suffix("").parts
            is_package = parts[-1] == "__init__"
            name = ".".join(parts[:-1] if is_package else parts)
            yield Module(name, ast.parse(path.read_text(encoding="utf-8"), str(path)), is_package)


def imports(module: Module) -> set[str]:
    """Return the full names of everything that `module` imports anywhere; `from a import b` gives `a.b`."""
    found: set[str] = set()
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                found |= {alias.name for alias in names}
            case ast.ImportFrom(module=source, names=names, level=level):
                origin = ".".join(filter(None, [_parent(module, level), source]))
                found |= {f"{origin}.{alias.name}" for alias in names}
            case _:
                pass
    return found


def contexts(package: str) -> set[str]:
    """Return the bounded contexts that have a folder of Python in `package`."""
    folders = {path.parent.name for path in (PROJECT / package).glob("*/*.py")}
    return folders - {SHARED}


def _parent(module: Module, level: int) -> str:
    if level == 0:
        return ""
    parts = module.name.split(".")
    return ".".join(parts[: len(parts) - level + module.is_package])
