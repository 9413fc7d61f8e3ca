"""No query can reach the writer's pool: neither by an import, nor through an object that it is given."""

import gc
import types
from collections import deque
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict
from psycopg_pool import AsyncConnectionPool

from tests.architecture.source import Module, imports, module, our_modules

_DRIVERS = ("psycopg", "psycopg_pool", "sqlalchemy", "redis")
_WRITERS = ("eventstore.append", "eventstore.load")
# From these everything in the process can be reached; a query holds them as any code does.
_NOT_FOLLOWED = (types.ModuleType, types.FunctionType, types.BuiltinFunctionType, types.FrameType, type)


def logins(start: object) -> set[str]:
    """Return the database roles of all pools that can be got at from `start` by attributes, items and bound objects."""
    seen = {id(start)}
    pending = deque([start])
    found: set[str] = set()
    while pending:
        value = pending.popleft()
        if isinstance(value, AsyncConnectionPool):
            found.add(str(conninfo_to_dict(value.conninfo)["user"]))
        for referent in gc.get_referents(value):
            if id(referent) not in seen and not isinstance(referent, _NOT_FOLLOWED):
                seen.add(id(referent))
                pending.append(referent)
    return found


def violations(module: Module) -> list[str]:
    """Return a sentence for each import by which a query could open or reach a connection of its own."""
    return [
        f"{module.name} imports {name}: a query asks through the ports in queries.ports"
        for name in sorted(imports(module))
        if module.package == "queries" and any(f"{name}.".startswith(f"{root}.") for root in (*_DRIVERS, *_WRITERS))
    ]


async def test_queries_reach_no_pool_but_the_readers(wired_platform):
    assert logins(wired_platform.queries) == {"varve_reader"}


async def test_commands_reach_the_writers_pool(wired_platform):
    assert "varve_writer" in logins(wired_platform.commands)


def test_no_module_of_the_read_side_imports_a_driver_or_the_writing_half_of_the_store():
    assert [sentence for module in our_modules() for sentence in violations(module)] == []


@pytest.mark.parametrize(
    "source",
    ["import psycopg", "from psycopg_pool import AsyncConnectionPool", "from eventstore.append import Appender"],
)
def test_a_query_that_imports_a_driver_is_found(source):
    assert violations(module("queries.knowledge.entry_list", source))


def test_a_pool_that_hides_behind_a_bound_method_is_found():
    class Reader:
        def __init__(self, pool: object) -> None:
            self._pool = pool

        def read(self) -> None: ...

    pool: AsyncConnectionPool[Any] = AsyncConnectionPool("postgresql://varve_writer@/varve", open=False)
    assert logins({"ask": [Reader(pool).read]}) == {"varve_writer"}
