"""Asks one server, the primary or a replica, about read models: rows and what they are of, in one statement."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol
from uuid import UUID

import orjson
import psycopg
from psycopg.rows import RowMaker
from psycopg_pool import AsyncConnectionPool

from projections.definition import Generation

_GENERATIONS = "select varve.start_reading(%s, %s::text[], %s)"
# One statement, one snapshot: a client that goes on with the answer's position finds there what the rows have shown.
# The outer side of the join is run first, and sets the tenant that the inner side's row-level security asks for; in
# another order the question would be refused.
_ASK = """
select r.reading, q.*
from {reading} r (reading)
left join lateral (select true as is_row, question.* from ({sql}) question) q on true
"""
_READING = "varve.start_reading(%(reading_tenant)s, %(reading_models)s::text[], %(reading_as_of)s)"
_READING_BY_KEY = "varve.reading_by_key(%(reading_tenant)s, %(reading_model)s)"
_KEPT_STATEMENTS = 500  # of some kilobytes
_PARAMETER = re.compile(r"%\((\w+)\)s|%%")
_COLUMNS_BEFORE = 2
"""The columns of an answer that are not the question's: what it is of, and whether there is a row."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of an answer, and by model what they are of."""

    rows: Sequence[dict[str, Any]]
    generations: Mapping[str, int]
    versions: Mapping[str, str]
    """What changes with the generation, and whenever rows of it were repaired."""
    positions: Mapping[str, int]
    definitions: Mapping[str, str]
    epoch: str
    parked: int
    """How many events of the tenant the models have put aside, and with them what waits behind."""

    @property
    def position(self) -> int:
        """The position that every model has reached."""
        return min(self.positions.values(), default=0)


class Question(Protocol):
    @property
    def models(self) -> tuple[str, ...]: ...
    @property
    def sql(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def settings(self) -> Mapping[str, str]: ...
    @property
    def is_by_key(self) -> bool: ...


class ReadServer:
    """The read models of one server, which may be another's replica and so behind it, in its generations too."""

    def __init__(self, pool: AsyncConnectionPool[Any], as_of: UUID | None = None) -> None:
        self.pool = pool
        self._as_of = as_of
        self._generations: dict[str, int] = {}

    async def ask(self, tenant: str, question: Question) -> Rows | None:
        """Return the rows of `question` in one tenant; None when another generation is live than was thought.

        The SQL is made for the generations that were live at the last reading, and what it answers says which ones are.

        Raises:
            psycopg.Error, PoolTimeout: the server did not answer.
        """
        generations = {model: self._generations.get(model, 0) for model in question.models}
        if 0 in generations.values():
            await self.knows(tenant, question.models)
            return None
        try:
            rows = await self._ask(tenant, question, generations)
        except psycopg.errors.UndefinedTable:
            self._generations.clear()
            return None
        if rows.generations != generations:
            self._generations |= rows.generations
            return None
        return rows

    async def _ask(self, tenant: str, question: Question, generations: Mapping[str, int]) -> Rows:
        sql, parameters = statement_of(question, tenant, generations, self._as_of)
        async with self.pool.connection() as connection:
            cursor = psycopg.AsyncRawCursor(connection, row_factory=_answers)
            if not question.settings:
                await cursor.execute(sql, parameters)
            else:
                async with connection.pipeline():  # one transaction, at whose end the settings are gone
                    await connection.execute(_set(tuple(question.settings)), list(question.settings.values()))
                    await cursor.execute(sql, parameters)
            answers = await cursor.fetchall()
        return _rows([row for _, row in answers if row is not None], answers[0][0])

    async def knows(self, tenant: str, models: Sequence[str]) -> bool:
        """Look which generations of `models` are read, and return whether each has one that holds the tenant's rows."""
        async with self.pool.connection() as connection:
            cursor = await connection.execute(_GENERATIONS, (tenant, list(models), self._as_of), prepare=True)
            ((reading,),) = await cursor.fetchall()
        self._generations |= _rows([], reading).generations
        return self._generations.keys() >= set(models)


def statement_of(
    question: Question, tenant: str, generations: Mapping[str, int], as_of: UUID | None = None
) -> tuple[bytes, list[Any]]:
    """Return the statement that asks `question` of some generations, and its parameters, $1 the first."""
    of: dict[str, Any] = {"reading_tenant": tenant}
    if question.is_by_key and as_of is None:
        reading = _READING_BY_KEY
        (of["reading_model"],) = question.models
    else:
        reading = _READING
        of["reading_models"] = f"{{{','.join(question.models)}}}"  # an array's text: it is sent quicker than a list
        of["reading_as_of"] = as_of
    sql, names = _sql(reading, question.sql, tuple(generations.items()), as_of)
    parameters = {**of, **question.parameters}
    return sql, [parameters[name] for name in names]


@lru_cache(_KEPT_STATEMENTS)
def _sql(
    reading: str, question: str, generations: tuple[tuple[str, int], ...], as_of: UUID | None
) -> tuple[bytes, list[str]]:
    """Return the statement as PostgreSQL takes it, and its parameters' names.

    psycopg reads a statement of more than 4 KB, such as the search's, anew each time.
    """
    tables = {model: _Tables(Generation(model, number, as_of)) for model, number in generations}
    sql = _ASK.format(reading=reading, sql=question.format_map(tables))
    names = list(dict.fromkeys(name for name in _PARAMETER.findall(sql) if name))
    numbered = _PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}" if found[1] else "%", sql)
    return numbered.encode(), names


@lru_cache
def _set(names: tuple[str, ...]) -> bytes:
    settings = [f"set_config('{name}', %s, true)" for name in names]
    return f"select {', '.join(settings)}".encode()


def _rows(rows: Sequence[dict[str, Any]], reading: str) -> Rows:
    """Return `rows` with what `varve.start_reading` says of them."""
    said = orjson.loads(reading)
    generations, versions, definitions, positions = {}, {}, {}, {}
    parked = 0
    for model, (generation, repairs, definition, position, parked_events) in said["models"].items():
        generations[model] = generation
        versions[model] = f"{generation}.{repairs}"
        definitions[model] = definition
        positions[model] = position
        parked += parked_events
    return Rows(rows, generations, versions, positions, definitions, said["epoch"], parked)


class _Tables:
    """Stands for a model in the SQL of a question: its attributes are the tables of a generation."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def __getattr__(self, name: str) -> str:
        return self._generation.table(name)


def _answers(cursor: psycopg.AsyncCursor[Any]) -> RowMaker[tuple[str, dict[str, Any] | None]]:
    """Make of each row what the answer is of, and the question's row, if it is one."""
    result = cursor.pgresult
    encoded = [result.fname(column) for column in range(_COLUMNS_BEFORE, result.nfields)] if result else []
    names = [(name or b"").decode() for name in encoded]

    def answer(values: Sequence[Any]) -> tuple[str, dict[str, Any] | None]:
        reading, is_row, *own = values
        return reading, dict(zip(names, own, strict=True)) if is_row else None

    return answer
