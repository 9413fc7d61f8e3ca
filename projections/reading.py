"""Asks one server, the primary or a replica, about read models: rows and what they are of, in one statement."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

import orjson
import psycopg

from eventstore.bulkheads import Bulkheads, Connection
from eventstore.errors import ReadModelHeld, StoreUnavailable
from eventstore.faults import fault_of
from projections.asking import Answer, Asked, Question, Statement, statement_of, statement_of_several
from projections.gathering import Gathering
from projections.held_models import HeldModels

_GENERATIONS = "select varve.start_reading(%s, %s::text[], %s)"
_MOST_TOGETHER = 32


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


class ReadServer:
    """The read models of one server, which may be another's replica and so behind it, in its generations too."""

    def __init__(self, bulkheads: Bulkheads, held: HeldModels, as_of: UUID | None = None) -> None:
        self.bulkheads = bulkheads
        self.pool = bulkheads.pool
        self.held = held
        self._as_of = as_of
        self._generations: dict[str, int] = {}
        self._by_key = Gathering(self._ask, self._ask_together, most=_MOST_TOGETHER, is_final=_is_final)

    async def ask(self, tenant: str, question: Question) -> Rows | None:
        """Return the rows of `question` in one tenant; None when another generation is live than was thought.

        The SQL is made for the generations that were live at the last reading, and what it answers says which ones are.

        Raises:
            ReadModelHeld, ReadersBusy: others hold what it needs.
            psycopg.Error, PoolTimeout: the server did not answer.
        """
        generations = {model: self._generations.get(model, 0) for model in question.models}
        if 0 in generations.values():
            await self.knows(tenant, question.models)
            return None
        try:
            rows = await self._rows(Asked(tenant, question, generations, self._as_of))
        except psycopg.errors.UndefinedTable:
            self._generations.clear()
            return None
        if rows.generations != generations:
            self._generations |= rows.generations
            return None
        return rows

    async def _rows(self, asked: Asked) -> Rows:
        kind = asked.kind
        return await (self._ask(asked) if kind is None else self._by_key.ask(kind, asked))

    async def _ask(self, asked: Asked) -> Rows:
        (rows,) = await self._asked(asked, statement_of(asked), 1)
        return rows

    async def _ask_together(self, several: Sequence[Asked]) -> Sequence[Rows]:
        return await self._asked(several[0], statement_of_several(several), len(several))

    async def _asked(self, first: Asked, question: tuple[Statement, list[Any]], questions: int) -> Sequence[Rows]:
        models = first.question.models
        settings = {**first.question.settings, **self.held.enter(models)}
        async with self.bulkheads.connection(first.tenant, models) as connection:
            try:
                answers = await _answers(connection, *question, settings)
            except psycopg.errors.LockNotAvailable as error:
                await self.held.find(models)  # before others wait for the same in this one's place
                raise ReadModelHeld(", ".join(models)) from error
        self.held.note_answered(models)
        return _rows_of(answers, questions)

    async def knows(self, tenant: str, models: Sequence[str]) -> bool:
        """Look which generations of `models` are read, and return whether each has one that holds the tenant's rows."""
        async with self.bulkheads.connection(tenant, ()) as connection:
            cursor = await connection.execute(_GENERATIONS, (tenant, list(models), self._as_of), prepare=True)
            ((reading,),) = await cursor.fetchall()
        (rows,) = _rows_of([(reading, 1, None)], 1)
        self._generations |= rows.generations
        return self._generations.keys() >= set(models)


async def _answers(
    connection: Connection, statement: Statement, parameters: list[Any], settings: Mapping[str, str]
) -> list[Answer]:
    cursor = psycopg.AsyncRawCursor(connection, row_factory=statement.answers)
    if not settings:
        await cursor.execute(statement.sql, parameters)
    else:
        async with connection.pipeline():  # one transaction, at whose end the settings are gone
            await connection.execute(_set(tuple(settings)), list(settings.values()))
            await cursor.execute(statement.sql, parameters)
    return await cursor.fetchall()


def _is_final(error: Exception) -> bool:
    """Whether what failed for several questions is not to be asked again for each of them."""
    return isinstance(error, StoreUnavailable) or fault_of(error).has_waited


@lru_cache
def _set(names: tuple[str, ...]) -> bytes:
    settings = [f"set_config('{name}', %s, true)" for name in names]
    return f"select {', '.join(settings)}".encode()


def _rows_of(answers: Sequence[Answer], questions: int) -> list[Rows]:
    """Return the rows of each of so many questions, with what `varve.start_reading` says of them."""
    rows: list[list[dict[str, Any]]] = [[] for _ in range(questions)]
    for _, number, row in answers:
        if row is not None:
            rows[number - 1].append(row)
    said = orjson.loads(answers[0][0])
    generations, versions, definitions, positions = {}, {}, {}, {}
    parked = 0
    for model, (generation, repairs, definition, position, parked_events) in said["models"].items():
        generations[model] = generation
        versions[model] = f"{generation}.{repairs}"
        definitions[model] = definition
        positions[model] = position
        parked += parked_events
    return [Rows(each, generations, versions, positions, definitions, said["epoch"], parked) for each in rows]
