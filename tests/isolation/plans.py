"""How PostgreSQL would answer the questions of a query, and where that reads rows of other tenants."""

import re
from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

import psycopg
from psycopg_pool import AsyncConnectionPool

from domain.shared.access import Actor
from eventstore.position import LogPosition
from eventstore.stream_reader import SET_TENANT
from projections.asking import Asked, statement_of, statement_of_several
from projections.live import LiveReadModels
from queries.ports import Question, Reached, Reading, ReadModels

Connection = psycopg.AsyncConnection[Any]
Plan = dict[str, Any]

_TABLES_WITH_TENANT = """
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attname = 'tenant'
where n.nspname in ('varve', 'read_models') and c.relkind = 'r'
"""
_GRAPHS = """
select i.relname from pg_class i join pg_am m on m.oid = i.relam
where i.relkind = 'i' and m.amname = 'hnsw'
"""
_EQUAL_COLUMNS = re.compile(r"\w\.\w+ = \w+\.\w+")
_KEYED_SCANS = {"Index Scan", "Index Only Scan", "Bitmap Index Scan"}
_WHOLE_SCANS = {"Seq Scan", "Tid Scan", "Tid Range Scan", "Sample Scan"}


class ExplainingReadModels:
    """Answers as the real ones, and keeps the plans of every question that it was asked.

    A statement that is asked often is planned once for all parameters, so there are two plans: one for these
    parameters, and one for any. Where several questions can be asked together, so are these.
    """

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._real = LiveReadModels(pool)
        self._pool = pool
        self._plans: list[Plan] = []

    async def read(self, actor: Actor, question: Question, least: LogPosition | None = None) -> Reading:
        # As in a database in which nothing was rebuilt.
        asked = Asked(actor.tenant, question, dict.fromkeys(question.models, 1))
        statements = [statement_of(asked), *([statement_of_several([asked, asked])] if asked.kind else [])]
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(SET_TENANT, (actor.tenant,))
            for name, value in question.settings.items():
                await connection.execute("select set_config(%s, %s, true)", (name, value))
            cursor = psycopg.AsyncRawCursor(connection)
            for statement, parameters in statements:
                for explained in (
                    await cursor.execute(b"explain (format json) " + statement.sql, parameters, prepare=False),
                    await cursor.execute(b"explain (generic_plan, format json) " + statement.sql, prepare=False),
                ):
                    self._plans += [each["Plan"] for (planned,) in await explained.fetchall() for each in planned]
        return await self._real.read(actor, question, least)

    def take_plans(self) -> list[Plan]:
        """Return the plans since they were last taken."""
        plans, self._plans = self._plans, []
        return plans

    async def reached(self, models: Sequence[str]) -> Reached:
        return await self._real.reached(models)

    async def check_epoch(self) -> None:
        await self._real.check_epoch()

    async def as_of(self, actor: Actor, as_of: UUID, models: Sequence[str]) -> ReadModels | None:
        return await self._real.as_of(actor, as_of, models)


class PlanCheck:
    """Finds in plans what reads rows of other tenants."""

    def __init__(self, tables: set[str], graphs: set[str]) -> None:
        self._tables = tables
        self._graphs = graphs

    @classmethod
    async def of(cls, admin: Connection) -> "PlanCheck":
        """Return the check for the tables that the database has now."""
        tables, graphs = [
            {name for (name,) in await (await admin.execute(names)).fetchall()}
            for names in (_TABLES_WITH_TENANT, _GRAPHS)
        ]
        return cls(tables, graphs)

    def faults(self, plan: Plan) -> set[str]:
        """Return a line for each scan that is not bound to one tenant, and for each join of every row with every row.

        The graph of the vectors is the one index that tenants share: its scan is bound by `hnsw.max_scan_tuples`.
        """
        nodes = list(_nodes(plan))
        unbound = {fault for node, table in nodes if table in self._tables for fault in self._faults_of(node, table)}
        return unbound | {f"every pair: {node['Join Filter']}" for node, _ in nodes if self._compares_every_pair(node)}

    def _compares_every_pair(self, node: Plan) -> bool:
        """Whether it looks at each row of one side for each of the other, where a key would find the right ones.

        Tables without a tenant are small.
        """
        if node["Node Type"] != "Nested Loop" or not _EQUAL_COLUMNS.search(node.get("Join Filter", "")):
            return False
        return all(self._may_be_many(side) for side in node["Plans"] if "InitPlan" not in side.get("Subplan Name", ""))

    def _may_be_many(self, plan: Plan) -> bool:
        return any(node["Node Type"] == "CTE Scan" or table in self._tables for node, table in _nodes(plan))

    def _faults_of(self, node: Plan, table: str) -> Iterator[str]:
        kind, index = node["Node Type"], node.get("Index Name")
        if kind in _WHOLE_SCANS:
            yield f"{kind} of {table}"
        elif kind in _KEYED_SCANS and index in self._graphs:
            if "tenant = " not in node.get("Filter", ""):
                yield f"{kind} by {index} for all tenants"
        elif kind in _KEYED_SCANS and "tenant = " not in node.get("Index Cond", ""):
            yield f"{kind} by {index} of {table} for all tenants"


def _nodes(plan: Plan, table: str = "") -> Iterator[tuple[Plan, str]]:
    """Yield every node with the table that it reads: a bitmap's scan has it from the node above."""
    table = plan.get("Relation Name", table)
    yield plan, table
    for below in plan.get("Plans", ()):
        yield from _nodes(below, table)
