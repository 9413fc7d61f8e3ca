"""The statements of a search alone: recorded from the real handler, and sent again over one plain connection."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from domain.shared.access import Actor
from eventstore.stream_reader import SET_TENANT
from projections.definition import Generation
from projections.live import LiveReadModels
from queries.message import Asking, QueryHandler
from queries.ports import Question, Reached, Reading
from queries.search.message import Search


@dataclass(frozen=True, slots=True)
class Statements:
    """What one search asks the database, in the order in which it did."""

    tenant: str
    asked: Sequence[tuple[Question, str]]

    def run(self, connection: psycopg.Connection[Any]) -> None:
        """Send them in one transaction, and fetch the rows."""
        with connection.transaction(), connection.cursor(row_factory=dict_row) as cursor:
            cursor.execute(SET_TENANT, (self.tenant,))
            for question, sql in self.asked:
                for name, value in question.settings.items():
                    cursor.execute("select set_config(%s, %s, true)", (name, value))
                cursor.execute(sql.encode(), question.parameters)
                cursor.fetchall()


class RecordingReadModels:
    """Answers as the real ones, and notes what was asked."""

    def __init__(self, pool: AsyncConnectionPool[Any]) -> None:
        self._real = LiveReadModels(pool)
        self._asked: list[tuple[Question, str]] = []

    async def read(self, actor: Actor, question: Question) -> Reading:
        reading = await self._real.read(actor, question)
        tables = {model: _Tables(Generation(model, number)) for model, number in reading.generations.items()}
        self._asked.append((question, question.sql.format_map(tables)))
        return reading

    async def reached(self, models: Sequence[str]) -> Reached:
        return await self._real.reached(models)

    async def check_epoch(self) -> None:
        await self._real.check_epoch()

    async def statements(self, search: QueryHandler[Search, Any], query: Search, asking: Asking) -> Statements:
        """Return the statements by which `search` answers `query`."""
        self._asked = []
        await search(query, asking)
        return Statements(asking.actor.tenant, self._asked)


class _Tables:
    """Stands for a model in the SQL of a question."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def __getattr__(self, name: str) -> str:
        return self._generation.table(name)
