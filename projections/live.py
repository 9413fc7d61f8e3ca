"""Reads live read models as the reader role: one tenant, one generation of each model, and its position."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

import psycopg
from psycopg.rows import class_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventstore.bulkheads import Bulkheads
from eventstore.epochs import check_epoch
from eventstore.errors import StoreUnavailable
from eventstore.fault_log import FAULTS
from eventstore.faults import fault_of, raise_unavailable
from eventstore.position import Epoch, LogPosition, parse_position
from projections.asking import Question
from projections.held_models import HeldModels
from projections.reading import ReadServer, Rows

_LIVE = "g.status = 'live'"
_AS_OF = "g.status = 'kept' and g.as_of = %(as_of)s and coalesce(g.only_tenant, %(tenant)s) = %(tenant)s"
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
_ATTEMPTS = 5
_AWAY_SECONDS = 1.0
"""For so long a replica that failed is not asked again."""


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


class _Actor(Protocol):
    @property
    def tenant(self) -> str: ...


class LiveReadModels:
    """Answers questions about read models; safe to share between tasks.

    With a replica, questions go there. The primary answers what the replica can't: when it is away, behind the position
    that is wanted, or of another history of the log.
    """

    def __init__(
        self,
        pool: AsyncConnectionPool[Any],
        replica: AsyncConnectionPool[Any] | None = None,
        *,
        as_of: UUID | None = None,
        tenant: str | None = None,
        bulkheads: Bulkheads | None = None,
        held: HeldModels | None = None,
    ) -> None:
        """Take the servers' pools; with `as_of`, answer one `tenant` from what was built as of a past position.

        `bulkheads` of the first pool are shared with what else asks on it, and `held` with other read models of it.
        """
        self._bulkheads = bulkheads or Bulkheads(pool)
        self._held = held or HeldModels(self._bulkheads)
        self._primary = ReadServer(self._bulkheads, self._held, as_of)
        self._replica = None if replica is None else _read_server(replica)
        self._chosen = _LIVE if as_of is None else _AS_OF
        self._of = {"as_of": as_of, "tenant": tenant}
        self._replica_away_until = 0.0
        self._epoch = ""

    async def read(self, actor: _Actor, question: Question, least: LogPosition | None = None) -> Rows:
        """Return the rows of `question` in the actor's tenant, as they were at the position `least` or later.

        Whoever wants a position has waited until the primary has reached it.

        Raises:
            StoreUnavailable: the database can't be reached, or no worker has made the read model yet.
        """
        rows = await self._read_replica(actor.tenant, question, least)
        return rows or await self._read_primary(actor.tenant, question)

    async def as_of(self, actor: _Actor, as_of: UUID, models: Sequence[str]) -> "LiveReadModels | None":
        """Return what answers from the generations that were built as of a past position.

        None unless all of `models` were, with the rows of the actor's tenant.

        Raises:
            StoreUnavailable: the database can't be reached.
        """
        found = LiveReadModels(
            self._primary.pool, as_of=as_of, tenant=actor.tenant, bulkheads=self._bulkheads, held=self._held
        )
        try:
            return found if await found._primary.knows(actor.tenant, models) else None
        except psycopg.Error as error:
            raise_unavailable(error)
            raise

    async def reached(self, models: Sequence[str]) -> Reached:
        """Return how far all of `models` are on the primary, and the log itself.

        Raises:
            StoreUnavailable: the database can't be reached.
        """
        try:
            async with self._primary.pool.connection() as connection:
                cursor = connection.cursor(row_factory=class_row(Reached))
                await cursor.execute(
                    _REACHED.format(chosen=self._chosen), {"models": list(models), **self._of}, prepare=True
                )
                reached: Reached | None = await cursor.fetchone()
        except psycopg.Error as error:
            raise_unavailable(error)
            raise
        if reached is None or not reached.epochs:
            raise StoreUnavailable("the log has no epoch: run `varve migrate`")
        self._epoch = reached.epoch
        return reached

    async def check_epoch(self) -> None:
        """See that a promoted server is marked as one, though nobody has appended to it yet.

        Raises:
            StoreUnavailable: the database can't be reached.
        """
        try:
            async with self._primary.pool.connection() as connection:
                self._epoch = await check_epoch(connection)
        except psycopg.Error as error:
            raise_unavailable(error)
            raise

    async def _read_primary(self, tenant: str, question: Question) -> Rows:
        for attempt in range(_ATTEMPTS):
            try:
                rows = await self._primary.ask(tenant, question)
            except psycopg.Error as error:
                if isinstance(error, PoolTimeout) or not fault_of(error).is_lost or attempt == _ATTEMPTS - 1:
                    FAULTS.note("read.failed", error, models=question.models)
                    raise_unavailable(error)
                    raise
                # A restarted server leaves dead connections in the pool; a read may simply be repeated.
                await self._primary.pool.check()
                continue
            if rows is not None:
                self._epoch = rows.epoch
                return rows
        raise StoreUnavailable(f"no live generation of {', '.join(question.models)}: is a projection worker running?")

    async def _read_replica(self, tenant: str, question: Question, least: LogPosition | None) -> Rows | None:
        """Return what the replica answers; None when there is none, or when the primary is to be asked."""
        if self._replica is None or not question.models or time.monotonic() < self._replica_away_until:
            return None  # what is no read model has no position either: the primary has all of it
        try:
            # Twice: at first it is not known which generations the replica has.
            rows = await self._replica.ask(tenant, question) or await self._replica.ask(tenant, question)
        except psycopg.errors.SerializationFailure:
            return None  # what it replays was in the way
        except psycopg.Error as error:
            if fault_of(error).has_waited:
                raise_unavailable(error)  # the primary would take as long again
            self._replica_away_until = time.monotonic() + _AWAY_SECONDS
            FAULTS.note("replica.away", error)
            return None
        # A replica of a server that is gone may show a history that no longer exists.
        is_of_this_history = rows is not None and rows.epoch == (self._epoch if least is None else least.epoch)
        if rows is None or not is_of_this_history or (least is not None and rows.position < least.position):
            return None
        return rows


def _read_server(pool: AsyncConnectionPool[Any]) -> ReadServer:
    bulkheads = Bulkheads(pool)
    return ReadServer(bulkheads, HeldModels(bulkheads))
