"""The composition root: every process and every test builds what it runs here, by plain calls."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import redis.asyncio
from obstore.store import LocalStore
from psycopg_pool import AsyncConnectionPool

from api.services import Services
from api.tokens import TokenIssuer, TokenVerifier, signing_key
from commands.bus import CommandBus
from commands.registry import HANDLERS as COMMAND_HANDLERS
from domain.knowledge.events import DOCUMENT_EVENTS, ENTRY_EVENTS
from domain.operations.events import OPERATIONS_EVENTS
from domain.shared.events import register_events
from eventstore.append import Appender
from eventstore.load import AggregateRepository
from eventstore.log import LogReader
from eventstore.mapper import EventTypes, PydanticMapper
from eventstore.stream_reader import TenantStreams
from eventstore.wake import WakeSender
from projections.definition import Projection
from projections.engine import Engine
from projections.live import LiveReadModels
from projections.registry import build_projections
from queries.bus import QueryBus
from queries.registry import HANDLERS as QUERY_HANDLERS
from varve.pools import open_pool
from varve.settings import Settings
from varve.system import SystemClock, TimeOrderedIds
from workers.blobs import Blobs
from workers.broker import create_broker
from workers.waking import ProjectionWaker

_WRITER_CONNECTIONS = 8
_READER_CONNECTIONS = 8
_PROJECTOR_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Platform:
    """What commands and queries are sent to: the API, the command line and the workers share it."""

    settings: Settings
    commands: CommandBus
    queries: QueryBus
    read_models: LiveReadModels
    writer_pool: AsyncConnectionPool[Any]
    reader_pool: AsyncConnectionPool[Any]
    blobs: Blobs


def event_types() -> EventTypes:
    """Return every event type that this code knows, with its topic registered."""
    classes = (*ENTRY_EVENTS, *DOCUMENT_EVENTS, *OPERATIONS_EVENTS)
    register_events(*classes)
    return EventTypes(*classes)


@asynccontextmanager
async def open_platform(settings: Settings, on_append: Callable[[], None] = lambda: None) -> AsyncIterator[Platform]:
    """Open the connections that commands and queries need. `on_append` is called after every durable append."""
    types = event_types()
    mapper = PydanticMapper(types)
    async with AsyncExitStack() as stack:
        writer = await stack.enter_async_context(open_pool(settings, "varve_writer", _WRITER_CONNECTIONS))
        reader = await stack.enter_async_context(open_pool(settings, "varve_reader", _READER_CONNECTIONS))
        log_waker = WakeSender(settings.role_url("varve_writer"))
        message_waker = ProjectionWaker(create_broker(settings.required_redis_url()))
        for waker in (log_waker, message_waker):
            stack.callback(asyncio.create_task(waker.run()).cancel)

        def appended() -> None:
            log_waker.wake()
            message_waker.wake()
            on_append()

        commands = CommandBus(
            handlers=COMMAND_HANDLERS,
            appender=Appender(writer, mapper, appended),
            repository=AggregateRepository(writer, mapper),
            clock=SystemClock(),
            ids=TimeOrderedIds(),
            key_seconds=settings.idempotency_hours * 3600,
        )
        read_models = LiveReadModels(reader)
        queries = QueryBus(
            handlers=QUERY_HANDLERS,
            read_models=read_models,
            streams=TenantStreams(reader, types),
            wait_seconds=settings.wait_seconds,
        )
        yield Platform(
            settings=settings,
            commands=commands,
            queries=queries,
            read_models=read_models,
            writer_pool=writer,
            reader_pool=reader,
            blobs=Blobs(LocalStore(str(settings.blobs), mkdir=True)),
        )


@asynccontextmanager
async def open_api_services(settings: Settings) -> AsyncIterator[Services]:
    """Open what the HTTP layer is given."""
    async with (
        open_platform(settings) as platform,
        redis.asyncio.Redis.from_url(settings.required_redis_url()) as cache,
    ):

        async def postgres_answers() -> None:
            async with platform.reader_pool.connection() as connection:
                await connection.execute("select varve.head()")

        async def redis_answers() -> None:
            await cache.ping()

        yield Services(
            commands=platform.commands,
            queries=platform.queries,
            tokens=TokenVerifier(signing_key(settings.derived_key("token signing")), SystemClock()),
            ids=TimeOrderedIds(),
            uploads=platform.blobs,
            health_checks={"postgresql": postgres_answers, "redis": redis_answers},
            max_body_bytes=settings.max_body_bytes,
            max_upload_bytes=settings.max_upload_bytes,
        )


@asynccontextmanager
async def open_engine(
    settings: Settings,
    projections: Iterable[Projection] | None = None,
    *,
    window_size: int = 1000,
    on_step: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Engine]:
    """Open the projection engine of one worker process; the caller runs it."""
    async with open_pool(settings, "varve_projector", _PROJECTOR_CONNECTIONS) as pool:
        yield Engine(
            build_projections() if projections is None else projections,
            pool=pool,
            reader=LogReader(event_types()),
            listen_url=settings.role_url("varve_projector"),
            owner=f"{socket.gethostname()}:{os.getpid()}:{TimeOrderedIds().new()}",
            window_size=window_size,
            on_step=on_step,
        )


def token_issuer(settings: Settings) -> TokenIssuer:
    """Return what signs tokens that this installation's API accepts."""
    return TokenIssuer(signing_key(settings.derived_key("token signing")), SystemClock())
