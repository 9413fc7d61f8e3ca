"""Bounded contexts do not import one another: only what events say travels, into projections and sagas."""

import configparser

import pytest

from tests.architecture.source import PACKAGES, PROJECT, Module, contexts, imports, module, our_modules

_TAKE_EVENTS_OF_OTHERS = ("projections", "commands.sagas")
TRAVELS = {
    "events": "the facts of a context",
    "content": "what an event of the context names by its hash instead of holding it",
}


def violations(module: Module, known: set[str]) -> list[str]:
    """Return a sentence for each import by which one of the contexts `known` reaches into another."""
    own = _context(module.name, known)
    if own is None:
        return []  # registries, buses and the composition root know every context
    return [
        f"{module.name} imports {name}: {own} and {other} are contexts of their own"
        for name in sorted(imports(module))
        if (other := _context(name, known)) not in {None, own} and not _travels(module, name, other)
    ]


def _context(name: str, known: set[str]) -> str | None:
    package, _, rest = name.partition(".")
    context = rest.split(".")[0]
    return context if package in PACKAGES and context in known else None


def _travels(module: Module, name: str, context: str | None) -> bool:
    takes_events = any(module.is_within(taker) for taker in _TAKE_EVENTS_OF_OTHERS)
    return takes_events and any(name.startswith(f"domain.{context}.{travelling}.") for travelling in TRAVELS)


def every_context() -> set[str]:
    """Return the contexts that have decisions or read models; `workers` and `varve` have none."""
    return set().union(*(contexts(package) for package in ("domain", "commands", "queries", "projections", "api")))


def test_no_context_imports_another():
    known = every_context()
    assert [sentence for module in our_modules() for sentence in violations(module, known)] == []


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("domain.knowledge.entry", "from domain.operations.events import ProjectionRebuildRequested"),
        ("commands.operations.projections", "from domain.knowledge.entry import ENTRY"),
        ("api.operations.routes", "from commands.knowledge.create_entry import CreateKnowledgeEntry"),
        ("queries.search.ask", "from domain.knowledge.events import DocumentProcessed"),
        ("projections.search.text_leg", "from domain.knowledge.entry import ENTRY"),
        ("projections.search.text_leg", "from domain.knowledge import entry"),
    ],
)
def test_a_context_that_imports_another_is_found(name, source):
    assert violations(module(name, source), {"knowledge", "operations", "search"})


def test_events_travel_into_projections():
    source = "from domain.knowledge.events import DocumentProcessed"
    assert violations(module("projections.search.text_leg", source), {"knowledge", "search"}) == []


def test_events_travel_into_sagas():
    source = "from domain.knowledge.events import DocumentProcessed"
    assert violations(module("commands.sagas.intake", source), {"knowledge", "sagas"}) == []


def test_a_context_may_import_itself():
    source = "from domain.knowledge.entry import ENTRY"
    assert violations(module("queries.knowledge.history", source), {"knowledge", "operations"}) == []


def test_every_context_is_named_in_the_contract_of_the_store():
    parser = configparser.ConfigParser()
    parser.read(PROJECT / ".importlinter")
    named = parser["importlinter:contract:store-knows-no-context"]["forbidden_modules"].split()
    assert set(named) == {f"domain.{context}" for context in contexts("domain")}
