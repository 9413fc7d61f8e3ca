"""Every command and query is answered by one function, and says who may send it."""

import importlib
import inspect
import typing
from collections.abc import Callable, Mapping
from typing import Any

from commands.message import Command
from domain.shared.access import Permission
from projections.definition import Projection
from queries.message import Query
from tests.architecture.source import our_modules


def defined(base: type, package: str) -> set[type]:
    """Return the subclasses of `base` that the modules of `package` define."""
    imported = [importlib.import_module(module.name) for module in our_modules() if module.package == package]
    return {
        value
        for namespace in imported
        for value in vars(namespace).values()
        if isinstance(value, type) and issubclass(value, base) and value is not base
    }


def without_handler(messages: set[type], handlers: Mapping[type, Any]) -> set[str]:
    return {message.__name__ for message in messages if message not in handlers}


def with_handler_of_another(handlers: Mapping[Any, Callable[..., Any]]) -> set[str]:
    """Return the messages whose handler's first argument is annotated as something else."""
    return {message.__name__ for message, handler in handlers.items() if _taken_by(handler) is not message}


def _taken_by(handler: Callable[..., Any]) -> object:
    hints = typing.get_type_hints(handler if inspect.isroutine(handler) else type(handler).__call__)
    return next(iter(hints.values()))


def without_permission(messages: set[type]) -> set[str]:
    """Return the messages that do not declare a permission in their own definition."""
    return {message.__name__ for message in messages if not isinstance(vars(message).get("PERMISSION"), Permission)}


def models_unknown(queries: set[type], projections: set[str]) -> set[str]:
    """Return the queries that do not name their read models, or name one that no projection makes."""
    return {query.__name__ for query in queries if not set(vars(query).get("MODELS", {"none"})) <= projections}


async def test_every_command_has_a_handler(wired_platform):
    assert without_handler(defined(Command, "commands"), wired_platform.commands._handlers) == set()


async def test_every_query_has_a_handler(wired_platform):
    assert without_handler(defined(Query, "queries"), wired_platform.queries._handlers) == set()


async def test_every_handler_takes_the_message_that_it_is_registered_for(wired_platform):
    handlers = {**wired_platform.commands._handlers, **wired_platform.queries._handlers}
    assert with_handler_of_another(handlers) == set()


def test_every_command_declares_its_permission_beside_its_definition():
    assert without_permission(defined(Command, "commands")) == set()


def test_every_query_declares_its_permission_beside_its_definition():
    assert without_permission(defined(Query, "queries")) == set()


def test_every_query_names_read_models_that_projections_make():
    made = {projection.NAME for projection in defined(Projection, "projections") if "NAME" in vars(projection)}
    assert models_unknown(defined(Query, "queries"), made) == set()


class _Forgotten: ...


class _OfAnother:
    PERMISSION = Permission.KNOWLEDGE_READ
    MODELS = ("a_model_that_nobody_makes",)


async def _handle(message: _OfAnother) -> None: ...


def test_a_message_without_handler_is_found():
    assert without_handler({_Forgotten}, {_OfAnother: _handle}) == {"_Forgotten"}


def test_a_message_with_the_handler_of_another_is_found():
    assert with_handler_of_another({_Forgotten: _handle, _OfAnother: _handle}) == {"_Forgotten"}


def test_a_message_without_permission_is_found():
    assert without_permission({_Forgotten, _OfAnother}) == {"_Forgotten"}


def test_a_query_without_read_models_or_with_unknown_ones_is_found():
    assert models_unknown({_Forgotten, _OfAnother}, {"knowledge_entry_list"}) == {"_Forgotten", "_OfAnother"}
