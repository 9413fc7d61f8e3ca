"""Asks queries: permission first, then the wait for the position that the caller wants to see, then the handler."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any
from uuid import UUID

import structlog
from opentelemetry import trace

from domain.shared.access import Actor, Permission
from eventstore.position import LogPosition
from queries.answers import EncodedAnswer
from queries.cache import AnswerCache, Asked
from queries.errors import AsOfNotFound, PositionInTheFuture, PositionNotReached
from queries.message import Answer, Asking, Query, QueryHandler
from queries.ports import Question, Reached, Reading, ReadModels, StreamReader

log = structlog.get_logger()
tracer = trace.get_tracer("varve.queries")

_FIRST_PAUSE = 0.004
_LONGEST_PAUSE = 0.05


def _span() -> AbstractContextManager[trace.Span]:
    """Return a span, unless the request's own is dropped: then it would be made for nothing."""
    request = trace.get_current_span()
    if request.get_span_context().is_valid and not request.is_recording():
        return nullcontext(trace.INVALID_SPAN)
    return tracer.start_as_current_span("query.ask")


class _Since:
    """Read models as they were at a position or later, whichever server answers."""

    def __init__(self, read_models: ReadModels, least: LogPosition) -> None:
        self._read_models = read_models
        self._least = least
        self.reached = read_models.reached
        self.check_epoch = read_models.check_epoch
        self.as_of = read_models.as_of

    async def read(self, actor: Actor, question: Question, least: LogPosition | None = None) -> Reading:
        return await self._read_models.read(actor, question, least or self._least)


class QueryBus:
    """Sends a query to its handler."""

    def __init__(
        self,
        *,
        handlers: Mapping[type[Query], QueryHandler[Any, Any]],
        read_models: ReadModels,
        streams: StreamReader,
        wait_seconds: float,
        cache: AnswerCache,
    ) -> None:
        self.cache = cache
        self._handlers = handlers
        self._read_models = read_models
        self._streams = streams
        self._wait_seconds = wait_seconds

    async def answer(self, asked: Asked) -> EncodedAnswer:
        """Return what `ask` does, encoded; it may be an answer that was kept and is still good.

        Raises:
            Exception: those of `ask`.
        """
        asked.actor.require(asked.query.PERMISSION)
        if asked.as_of is not None:
            return EncodedAnswer.of(await self.ask(asked.query, asked.actor, asked.min_position, asked.as_of))
        return await self.cache.answer(asked, lambda: self.ask(asked.query, asked.actor, asked.min_position))

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
        with _span() as span:
            span.set_attribute("varve.query", type(query).__name__)
            span.set_attribute("varve.tenant", actor.tenant)
            actor.require(query.PERMISSION)
            read_models: ReadModels = self._read_models
            if as_of is not None:
                actor.require(Permission.AUDIT_READ)
                read_models = await self._as_of(query, actor, as_of)
            elif min_position is not None:
                read_models = _Since(read_models, await self._wait(query.models(), min_position))
            asking = Asking(actor, read_models, self._streams)
            answer: Answer[Any] = await self._handlers[type(query)](query, asking)
            return answer

    async def _as_of(self, query: Query, actor: Actor, as_of: UUID) -> ReadModels:
        """Return the read models as they stood then; the log itself, which some queries read, has no such."""
        found = await self._read_models.as_of(actor, as_of, query.models()) if query.MODELS else None
        if found is None:
            raise AsOfNotFound(as_of)
        return found

    async def _wait(self, models: Sequence[str], token: str) -> LogPosition:
        deadline = time.monotonic() + self._wait_seconds
        pause = _FIRST_PAUSE
        while True:
            reached, wanted = await self._look(models, token)
            if reached.position >= wanted.position:
                return wanted
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
