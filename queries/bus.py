"""Asks queries: permission first, then the wait for the position that the caller wants to see, then the handler."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import structlog
from opentelemetry import trace

from domain.shared.access import Actor, Permission
from eventstore.position import LogPosition
from queries.errors import AsOfNotFound, PositionInTheFuture, PositionNotReached
from queries.message import Answer, Asking, Query, QueryHandler
from queries.ports import Reached, ReadModels, StreamReader

log = structlog.get_logger()
tracer = trace.get_tracer("varve.queries")

_FIRST_PAUSE = 0.004
_LONGEST_PAUSE = 0.05


class QueryBus:
    """Sends a query to its handler."""

    def __init__(
        self,
        *,
        handlers: Mapping[type[Query], QueryHandler[Any, Any]],
        read_models: ReadModels,
        streams: StreamReader,
        wait_seconds: float,
    ) -> None:
        self._handlers = handlers
        self._read_models = read_models
        self._streams = streams
        self._wait_seconds = wait_seconds

    async def ask(
        self, query: Query, actor: Actor, min_position: str | None = None, as_of: UUID | None = None
    ) -> Answer[Any]:
        """Answer `query` with what the read models hold at the position token `min_position` or later.

        Or, for those who may audit, with what they held at the past position that `as_of` was built for.

        Raises:
            AsOfNotFound: what the query reads was not built as of then.
            DomainError: it is refused.
            PositionNotReached: the read models are further behind than the time limit allows.
            PositionInTheFuture: the log is not that long.
            InvalidPosition: `min_position` is no token.
            ForeignEpoch: the token is of a part of an older history that no longer exists.
            StoreUnavailable: the database can't be reached.
        """
        with tracer.start_as_current_span("query.ask") as span:
            span.set_attribute("varve.query", type(query).__name__)
            span.set_attribute("varve.tenant", actor.tenant)
            actor.require(query.PERMISSION)
            read_models = self._read_models
            if as_of is not None:
                actor.require(Permission.AUDIT_READ)
                read_models = await self._as_of(query, actor, as_of)
            elif min_position is not None:
                await self._wait(query.models(), min_position)
            asking = Asking(actor, read_models, self._streams)
            answer: Answer[Any] = await self._handlers[type(query)](query, asking)
            return answer

    async def _as_of(self, query: Query, actor: Actor, as_of: UUID) -> ReadModels:
        """Return the read models as they stood then; the log itself, which some queries read, has no such."""
        found = await self._read_models.as_of(actor, as_of, query.models()) if query.MODELS else None
        if found is None:
            raise AsOfNotFound(as_of)
        return found

    async def _wait(self, models: Sequence[str], token: str) -> None:
        deadline = time.monotonic() + self._wait_seconds
        pause = _FIRST_PAUSE
        while True:
            reached, wanted = await self._look(models, token)
            if reached.position >= wanted.position:
                return
            if time.monotonic() > deadline:
                raise PositionNotReached(", ".join(models), wanted, LogPosition(reached.epoch, reached.position))
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE)

    async def _look(self, models: Sequence[str], token: str) -> tuple[Reached, LogPosition]:
        """Return how far `models` are and where `token` lies, each time anew: a failover may take its place away."""
        reached = await self._read_models.reached(models)
        if reached.position_of(token) > reached.head:
            # A promoted server, maybe, that nobody has appended to yet: then the position is not early but lost.
            await self._read_models.check_epoch()
            reached = await self._read_models.reached(models)
        wanted = LogPosition(reached.epoch, reached.position_of(token))
        if wanted.position > reached.head:
            raise PositionInTheFuture(wanted, LogPosition(reached.epoch, reached.head))
        return reached, wanted
