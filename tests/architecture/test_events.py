"""Every event has a name of its own that never changes, and the composition root registers it."""

import ast
import importlib
from typing import ClassVar

import pytest
from pydantic import BaseModel

from domain.shared.events import Event
from tests.architecture.source import Module, module, our_modules
from varve.bootstrap import event_types


def violations(module: Module) -> list[str]:
    """Return a sentence for each event class of an `events` module without a literal topic of its own."""
    context = module.name.split(".")[1]
    return [
        f"{module.name}.{node.name} needs a literal: TOPIC: ClassVar[str] = {f'{context}.{node.name}'!r}"
        for node in module.tree.body
        if isinstance(node, ast.ClassDef) and _topic(node) != f"{context}.{node.name}"
    ]


def _topic(definition: ast.ClassDef) -> str | None:
    for statement in definition.body:
        match statement:
            case ast.AnnAssign(target=ast.Name(id="TOPIC"), value=ast.Constant(value=str(topic))):
                return topic
            case _:
                pass
    return None


def modules_of_events() -> list[Module]:
    return [
        module
        for module in our_modules()
        if module.package == "domain" and module.name.endswith(".events") and not module.is_within("domain.shared")
    ]


def event_classes() -> set[type[Event]]:
    """Return every event class that the modules of the domain define."""
    imported = [importlib.import_module(module.name) for module in our_modules() if module.package == "domain"]
    return {
        value
        for namespace in imported
        for value in vars(namespace).values()
        if isinstance(value, type) and issubclass(value, Event) and value is not Event
    }


def unregistered(classes: set[type[Event]], registered: set[type[BaseModel]]) -> set[str]:
    return {event.__name__ for event in classes if event not in registered}


def test_every_event_has_a_literal_topic_of_its_own():
    assert [sentence for module in modules_of_events() for sentence in violations(module)] == []


def test_every_event_is_registered_by_the_composition_root():
    assert unregistered(event_classes(), set(event_types())) == set()


def test_there_are_events_to_look_at():
    assert {event.__name__ for event in event_classes()} >= {"KnowledgeEntryCreated", "ProjectionRebuildRequested"}


@pytest.mark.parametrize(
    "body",
    [
        "entry_id: UUID",
        "TOPIC: ClassVar[str] = 'knowledge.' + 'Moved'",
        "TOPIC: ClassVar[str] = 'knowledge.KnowledgeEntryCreated'",
        "TOPIC: ClassVar[str] = 'operations.Moved'",
        "TOPIC: ClassVar[str]",
    ],
)
def test_an_event_without_a_topic_of_its_own_is_found(body):
    assert violations(module("domain.knowledge.events", f"class Moved(Event):\n    {body}"))


def test_an_event_that_nobody_registers_is_found():
    class Moved(Event):
        TOPIC: ClassVar[str] = "knowledge.Moved"

    assert unregistered({*event_classes(), Moved}, set(event_types())) == {"Moved"}
