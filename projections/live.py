"""Reads live read models as the reader role: one tenant, one generation of each model, and its position."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import psycopg
from psycopg.rows import class_row, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventstore.epochs import check_epoch
from eventstore.errors import StoreUnavailable
from eventstore.position import Epoch, parse_position
from eventstore.stream_reader import SET_TENANT
from projections.definition import Generation

_CHOSEN = """
select g.projection, g.generation from varve.generations g where {chosen} and g.projection = any (%(models)s)
"""
_LIVE = "g.status = 'live'"
_AS_OF = "g.status = 'kept' and g.as_of = %(as_of)s and coalesce(g.only_tenant, %(tenant)s) = %(tenant)s"
_POINTERS = """
select g.projection, g.generation, min(l.position), g.definition,
       (select epoch from varve.log_epochs order by number desc limit 1),
       (select count(*) from varve.parked p where (p.projection, p.generation) = (g.projection, g.generation))
from varve.generations g join varve.lanes l using (projection, generation)
where {chosen} and g.projection = any (%(models)s) group by g.projection, g.generation, g.definition
"""
_REACHED = """
select e.epochs, e.fork_positions, varve.head() as head, case
    when cardinality(%(models)s::text[]) = 0 then varve.head()
    when reached.models = cardinality(%(models)s::text[]) then reached.position
    else 0  -- one of them has not been made yet
end as position
from (
    select array_agg(epoch order by number) as epochs, array_agg(fork_position order by number) as fork_positions
    from varve.log_epochs
) e cross join (
    select count(distinct g.projection) as models, min(l.position) as position
    from varve.generations g join varve.lanes l using (projection, generation)
    where {chosen} and g.projection = any (%(models)s)
) reached
"""
_ONE_SNAPSHOT = "begin isolation level repeatable read read only"
_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of an answer, and by model the generation that they are of, its position and its definition."""

    rows: Sequence[dict[str, Any]]
    generations: Mapping[str, int]
    positions: Mapping[str, int]
    definitions: Mapping[str, str]
    epoch: str
    parked: int
    """How many events of the tenant the models have put aside, and with them what waits behind."""

    @property
    def position(self) -> int:
        """The position that every model has reached."""
        return min(self.positions.values(), default=0)


@dataclass(frozen=True, slots=True)
class Reached:
    """How far some read models are in the log, how long it is, and its histories, oldest first."""

    epochs: Sequence[str]
    fork_positions: Sequence[int]
    head: int
    position: int

    @property
    def epoch(self) -> str:
        return self.epochs[-1]

    def position_of(self, token: str) -> int:
        """Return the position in the present history that `token` stands for; errors are those of `parse_position`."""
        return parse_position(token, list(map(Epoch, self.epochs, self.fork_positions)))


class _Tables:
    """Stands for a model in the SQL of a question: its attributes are the tables of a generation."""

    def __init__(self, generation: Generation) -> None:
        self._generation = generation

    def __getattr__(self, name: str) -> str:
        return self._generation.table(name)


class _Question(Protocol):
    @property
    def models(self) -> tuple[str, ...]: ...
    @property
    def sql(self) -> str: ...
    @property
    def parameters(self) -> Mapping[str, Any]: ...
    @property
    def settings(self) -> Mapping[str, str]: ...


class _Actor(Protocol):
    @property
    def tenant(self) -> str: ...


class LiveReadModels:
    """Answers questions about read models; safe to share between tasks."""

    def __init__(self, pool: AsyncConnectionPool[Any], as_of: UUID | None = None, tenant: str | None = None) -> None:
        self._pool = pool
        self._as_of = as_of
        self._tenant = tenant
        self._chosen = _LIVE if as_of is None else _AS_OF
        self._generations: dict[str, int] = {}

    async def read(self, actor: _Actor, question: _Question) -> Rows:
        """Return the rows of `question` in the actor's tenant.

        The SQL is made for the generations that were live at the last reading. The pointers are read again in the same
        round trip; when a swap came in between, it is made anew.

        Raises:
            StoreUnavailable: the database can't be reached, or no worker has made the read model yet.
        """
        try:
            for attempt in range(_ATTEMPTS):
                try:
                    rows = await self._read_once(actor.tenant, question)
                except (psycopg.OperationalError, psycopg.InterfaceError) as error:
                    # A restarted server leaves dead connections in the pool; a read may simply be repeated.
                    if attempt == _ATTEMPTS - 1:
                        raise StoreUnavailable(str(error)) from error
                    await self._pool.check()
                    continue
                if rows is not None:
                    return rows
        except PoolTimeout as error:
            raise StoreUnavailable(str(error)) from error
        raise StoreUnavailable(f"no live generation of {', '.join(question.models)}: is a projection worker running?")

    async def as_of(self, actor: _Actor, as_of: UUID, models: Sequence[str]) -> "LiveReadModels | None":
        """Return what answers from the generations that were built as of a past position.

        None unless all of `models` were, with the rows of the actor's tenant.

        Raises:
            StoreUnavailable: the database can't be reached.
        """
        found = LiveReadModels(self._pool, as_of, actor.tenant)
        try:
            found._generations = await found._chosen_generations(models)
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise StoreUnavailable(str(error)) from error
        return found if found._generations.keys() >= set(models) else None

    async def reached(self, models: Sequence[str]) -> Reached:
        """Return how far all of `models` are, and the log itself.

        Raises:
            StoreUnavailable: the database can't be reached.
        """
        try:
            async with self._pool.connection() as connection:
                cursor = connection.cursor(row_factory=class_row(Reached))
                await cursor.execute(_REACHED.format(chosen=self._chosen), self._parameters(models), prepare=True)
                reached: Reached | None = await cursor.fetchone()
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise StoreUnavailable(str(error)) from error
        if reached is None or not reached.epochs:
            raise StoreUnavailable("the log has no epoch: run `varve migrate`")
        return reached

    async def check_epoch(self) -> None:
        """See that a promoted server is marked as one, though nobody has appended to it yet.

        Raises:
            StoreUnavailable: the database can't be reached.
        """
        try:
            async with self._pool.connection() as connection:
                await check_epoch(connection)
        except (psycopg.OperationalError, psycopg.InterfaceError, PoolTimeout) as error:
            raise StoreUnavailable(str(error)) from error

    async def _read_once(self, tenant: str, question: _Question) -> Rows | None:
        generations = {model: self._generations.get(model, 0) for model in question.models}
        if 0 in generations.values():
            self._generations |= await self._chosen_generations(question.models)
            return None
        tables = {model: _Tables(Generation(model, number, self._as_of)) for model, number in generations.items()}
        try:
            async with self._pool.connection() as connection:
                # One snapshot: a client that goes on with the answer's position finds there what the rows have shown.
                # The tenant's setting ends with the transaction.
                async with connection.pipeline():
                    await connection.execute(_ONE_SNAPSHOT)
                    await connection.execute(SET_TENANT, (tenant,))
                    for name, value in question.settings.items():
                        await connection.execute("select set_config(%s, %s, true)", (name, value))
                    pointer_cursor = await connection.execute(
                        _POINTERS.format(chosen=self._chosen), self._parameters(question.models)
                    )
                    cursor = connection.cursor(row_factory=dict_row)
                    await cursor.execute(question.sql.format_map(tables), question.parameters)
                    await connection.execute("commit")
                rows = _rows(await pointer_cursor.fetchall(), await cursor.fetchall())
        except psycopg.errors.UndefinedTable:
            self._generations.clear()
            return None
        if rows.generations != generations:
            self._generations |= rows.generations
            return None
        return rows

    async def _chosen_generations(self, models: Sequence[str]) -> dict[str, int]:
        async with self._pool.connection() as connection:
            sql = _CHOSEN.format(chosen=self._chosen)
            cursor = await connection.execute(sql, self._parameters(models), prepare=True)
            return dict(await cursor.fetchall())

    def _parameters(self, models: Sequence[str]) -> dict[str, Any]:
        return {"models": list(models), "as_of": self._as_of, "tenant": self._tenant}


def _rows(pointers: Sequence[Any], rows: Sequence[dict[str, Any]]) -> Rows:
    return Rows(
        rows=rows,
        generations={pointer[0]: pointer[1] for pointer in pointers},
        positions={pointer[0]: pointer[2] for pointer in pointers},
        definitions={pointer[0]: pointer[3] for pointer in pointers},
        epoch=pointers[0][4] if pointers else "",
        parked=sum(pointer[5] for pointer in pointers),
    )
