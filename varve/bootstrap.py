"""The composition root: every process and every test builds what it runs here, by plain calls."""

import os
import random
import socket
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import dramatiq
import redis.asyncio
from obstore.store import LocalStore
from opentelemetry import metrics
from psycopg_pool import AsyncConnectionPool

from api.services import Services
from api.tokens import TokenIssuer, TokenVerifier, signing_key
from commands.bus import CommandBus
from commands.registry import build_handlers as build_command_handlers
from domain.knowledge.document import DOCUMENT
from domain.knowledge.entry import ENTRY
from domain.knowledge.errors import DocumentTooLarge
from domain.knowledge.events import DOCUMENT_EVENTS, ENTRY_EVENTS
from domain.operations.events import OPERATIONS_EVENTS
from domain.shared.events import Event, register_events
from domain.shared.text import Embedder, EmbeddingModel, Tokenizer
from eventstore.aggregate_cache import AggregateCache
from eventstore.append import open_appender
from eventstore.application import VarveApplication
from eventstore.background import run_beside, run_together
from eventstore.bulkheads import Bulkheads
from eventstore.errors import StoreUnavailable
from eventstore.load import AggregateRepository
from eventstore.log import LogReader
from eventstore.mapper import EventTypes
from eventstore.snapshots import AggregateTypes, SnapshotTaker
from eventstore.stream_reader import TenantStreams
from eventstore.voiding import EventVoided
from eventstore.wake import CHANNEL, WakeListener, WakeSender
from projections.changes import ReadModelChanges
from projections.definition import Projection
from projections.engine import Engine
from projections.knowledge.document_jobs import JOB_KIND
from projections.live import LiveReadModels
from projections.registry import build_projections, reactors, rebuildable, topics_of_read_models
from projections.search.sources import SourceReader
from projections.search.text_leg import SearchTextLeg
from projections.search.vector_leg import SearchVectorLeg
from queries.bus import QueryBus
from queries.cache import AnswerCache
from queries.operations.gauges import LaneGauges
from queries.operations.projections import projections_handler
from queries.registry import build_handlers as build_query_handlers
from queries.search.records import SearchRecords, noting_hits
from queries.search.search import SearchSettings, search_handler
from varve.health import PostgresHealth, redis_answers
from varve.operated import OperatedProjections
from varve.pools import open_pool
from varve.settings import DatabaseRole, Settings
from varve.shared_answers import RedisAnswers
from varve.system import SystemClock, TimeOrderedIds
from workers.actors import LOOK_AT_DOCUMENTS, LOOK_AT_LOG
from workers.blobs import Blobs, BlobTooLarge, StoredBlob
from workers.broker import DOCUMENTS, PROJECTIONS, create_broker
from workers.documents.isolation import ParserUnavailable
from workers.documents.limits import ParserLimits
from workers.documents.process import DocumentProcessor
from workers.embedding.hashing import HashingEmbedder
from workers.embedding.minilm import MiniLmEmbedder
from workers.embedding.requests import EmbeddingRequests
from workers.housekeeping import Housekeeping
from workers.jobs import JobRunner
from workers.lane_children import ForkedLaneChildren, Target
from workers.parked_facts import ParkedFacts
from workers.passages import PassageCutter
from workers.search_records import SampledSearches, SearchRecordWriter
from workers.text_analyzer import TextAnalyzer
from workers.texts.errors import TextProcessUnavailable
from workers.texts.search_texts import SearchTexts
from workers.texts.steps import tokenizer_of
from workers.texts.texts import Cutting, TextProcesses
from workers.waking import Waker

_WRITER_CONNECTIONS = 8
_READER_CONNECTIONS = 12
"""Half of them at the most are one tenant's, and fewer one read model's: see eventstore/bulkheads.py."""
PROJECTOR_CONNECTIONS = 7
"""Of a projection worker: one for heartbeats, the others for its lanes, however many. An eighth one listens."""
_DOCUMENT_CONNECTIONS = 4
_DOCUMENTS_AT_ONCE = 2
_KEPT_SECONDS = 300.0
"""How long a process keeps an answer that nobody asks for; it is dropped before when it is no longer good."""
_SHARED_ANSWER_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Platform:
    """What commands and queries are sent to: the API, the command line and the workers share it."""

    settings: Settings
    commands: CommandBus
    queries: QueryBus
    read_models: LiveReadModels
    repository: AggregateRepository
    reader_pool: AsyncConnectionPool[Any]
    blobs: Blobs
    embedder: Embedder


def event_types() -> EventTypes:
    """Return every event type that this code knows, with its topic registered."""
    classes: tuple[type[Event], ...] = (*ENTRY_EVENTS, *DOCUMENT_EVENTS, *OPERATIONS_EVENTS, EventVoided)
    register_events(*classes)
    return EventTypes(*classes)


@asynccontextmanager
async def open_platform(
    settings: Settings,
    broker: dramatiq.Broker | None = None,
    *,
    on_append: Callable[[], None] = lambda: None,
    reader_connections: int = _READER_CONNECTIONS,
    keeps_answers: bool = False,
) -> AsyncIterator[Platform]:
    """Open the connections that commands and queries need.

    Args:
        settings: where everything is.
        broker: the process's own, if it has one.
        on_append: called after every durable append, before its command is answered.
        reader_connections: how many queries run at once.
        keeps_answers: whether the same question may be answered with the same bytes for as long as they are good.
    """
    async with AsyncExitStack() as stack:
        application = stack.enter_context(open_application(settings, "varve_writer"))
        writer = await stack.enter_async_context(open_pool(settings, "varve_writer", _WRITER_CONNECTIONS))
        reader = await stack.enter_async_context(open_pool(settings, "varve_reader", reader_connections))
        log_waker = WakeSender(settings.role_url("varve_writer"))
        message_waker = Waker(broker or create_broker(settings.required_redis_url()), PROJECTIONS, LOOK_AT_LOG)
        snapshots = SnapshotTaker(writer, application.snapshot_policy)
        searches = SampledSearches(
            settings.search_record_rate,
            key=settings.derived_key("search records"),
            now=SystemClock().now,
            chance=random.random,
        )
        search_writer = SearchRecordWriter(searches, writer)
        run_beside(stack, log_waker.run(), message_waker.run(), snapshots.run(), search_writer.run())
        asking_embedder = embedder(settings)

        def appended() -> None:
            log_waker.wake()
            message_waker.wake()
            on_append()

        repository = AggregateRepository(writer, application.mapper, snapshots.note)
        aggregates = AggregateCache(repository, snapshots.note)
        appender = await stack.enter_async_context(
            open_appender(settings.role_url("varve_writer"), application.mapper, appended, aggregates.clear)
        )
        replica = None
        if settings.read_database_url is not None:
            replica = await stack.enter_async_context(
                open_pool(settings, "varve_reader", reader_connections, replica=True)
            )
        bulkheads = Bulkheads(reader)
        read_models = LiveReadModels(reader, replica, bulkheads=bulkheads)
        search = search_handler(asking_embedder, TextAnalyzer(), SearchSettings(), searches)
        shared = await stack.enter_async_context(_open_shared_answers(settings))
        cache = await stack.enter_async_context(_open_cache(settings, reader, shared, searches, is_used=keeps_answers))
        yield Platform(
            settings=settings,
            commands=CommandBus(
                handlers=build_command_handlers(
                    rebuildable(), reactors(), OperatedProjections(writer, LogReader(application.event_types))
                ),
                appender=appender,
                aggregates=aggregates,
                clock=SystemClock(),
                ids=TimeOrderedIds(),
                key_seconds=settings.idempotency_hours * 3600,
            ),
            queries=QueryBus(
                handlers=build_query_handlers(
                    search=search, projections=projections_handler(settings.alarm_seconds), shared=shared
                ),
                read_models=read_models,
                streams=TenantStreams(reader, application.event_types, bulkheads),
                wait_seconds=settings.wait_seconds,
                cache=cache,
            ),
            read_models=read_models,
            repository=repository,
            reader_pool=reader,
            blobs=open_blobs(settings),
            embedder=asking_embedder,
        )


@asynccontextmanager
async def open_api_services(
    settings: Settings,
    *,
    on_append: Callable[[], None] = lambda: None,
    reader_connections: int = _READER_CONNECTIONS,
) -> AsyncIterator[Services]:
    """Open what the HTTP layer is given; the arguments are those of `open_platform`."""
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(
            open_platform(settings, on_append=on_append, reader_connections=reader_connections, keeps_answers=True)
        )
        redis_client = await stack.enter_async_context(redis.asyncio.Redis.from_url(settings.required_redis_url()))
        run_beside(stack, _warm_up(platform.embedder))
        if settings.otlp_endpoint is not None:
            meter = metrics.get_meter("varve.operations")
            gauges = LaneGauges(meter, platform.read_models, settings.alarm_seconds)
            run_beside(stack, gauges.run(settings.metrics_seconds))

        postgres = PostgresHealth(settings)
        stack.push_async_callback(postgres.close)
        yield Services(
            commands=platform.commands,
            queries=platform.queries,
            tokens=TokenVerifier(signing_key(settings.derived_key("token signing")), SystemClock()),
            ids=TimeOrderedIds(),
            uploads=_Uploads(platform.blobs),
            health_checks={
                "postgresql": postgres.answers,
                "redis": partial(redis_answers, redis_client),
                "storage": postgres.stores,
            },
            health_warnings={"projections": postgres.stands},
            max_body_bytes=settings.max_body_bytes,
            max_upload_bytes=settings.max_upload_bytes,
            is_metered=settings.otlp_endpoint is not None,
        )


@asynccontextmanager
async def open_engine(
    settings: Settings,
    broker: dramatiq.Broker | None = None,
    *,
    more_projections: Iterable[Projection] = (),
    window_size: int = 1000,
    on_step: Callable[[str], None] = lambda _: None,
    child_target: Target | None = None,
    is_after_crash: bool = False,
) -> AsyncIterator[Engine]:
    """Open the projection engine of one worker process; the caller runs it.

    Args:
        settings: where everything is.
        broker: the process's own, if it has one.
        more_projections: besides those of the registry; the fault tests count with them.
        window_size: how many events are read at once.
        on_step: told each named point that a crash may fall on.
        child_target: what a child does that runs a lane in which a worker was lost; without it, the engine does.
        is_after_crash: whether the process that ran here before ended by what it did.
    """
    async with AsyncExitStack() as stack:
        owner = f"{socket.gethostname()[:30]}:{os.getpid()}:{str(TimeOrderedIds().new())[-12:]}"
        pool = await stack.enter_async_context(
            open_pool(settings, "varve_projector", PROJECTOR_CONNECTIONS, application_name=owner)
        )
        waker = Waker(broker or create_broker(settings.required_redis_url()), DOCUMENTS, LOOK_AT_DOCUMENTS)
        run_beside(stack, waker.run())
        texts = await stack.enter_async_context(open_texts(settings))
        projections = projections_of(settings, texts, waker.wake)
        children = None
        if child_target is not None:
            children = ForkedLaneChildren(child_target, owner, pool)
            run_beside(stack, children.warm_up())
        yield Engine(
            [*projections, *more_projections],
            pool=pool,
            reader=LogReader(event_types()),
            listen_url=settings.role_url("varve_projector"),
            owner=owner,
            window_size=window_size,
            on_step=on_step,
            children=children,
            is_after_crash=is_after_crash,
            helpers=texts.pids,
        )


@asynccontextmanager
async def open_texts(settings: Settings) -> AsyncIterator[SearchTexts]:
    """Open what cuts and analyses texts for the search's projections, in processes that start when there are some."""
    texts = SearchTexts(text_processes(settings, embedder(settings).model.max_tokens), open_blobs(settings))
    try:
        yield texts
    finally:
        await texts.close()


def projections_of(settings: Settings, texts: SearchTexts, wake_documents: Callable[[], None]) -> list[Projection]:
    """Return the projections of the registry; `wake_documents` is called when there is work for document workers."""
    sources = SourceReader(texts)
    return build_projections(
        text_leg=SearchTextLeg(TextAnalyzer(), sources, texts),
        vector_leg=SearchVectorLeg(embedder(settings).model, sources, wake_documents),
        wake_documents=wake_documents,
    )


@dataclass(frozen=True, slots=True)
class DocumentWork:
    """What a document worker runs: documents, the embedding of passages, and what nobody else has the time for."""

    jobs: JobRunner
    embeddings: EmbeddingRequests
    parked_facts: ParkedFacts
    housekeeping: Housekeeping

    def wake(self) -> None:
        self.jobs.wake()
        self.embeddings.wake()

    async def run(self) -> None:
        """Run all of it until cancelled."""
        await run_together(self.jobs.run(), self.embeddings.run(), self.parked_facts.run(), self.housekeeping.run())


@asynccontextmanager
async def open_document_work(
    settings: Settings, broker: dramatiq.Broker | None = None, *, on_append: Callable[[], None] = lambda: None
) -> AsyncIterator[DocumentWork]:
    """Open what one document worker process does; the caller runs it. `on_append` is as for `open_platform`."""
    async with AsyncExitStack() as stack:
        platform = await stack.enter_async_context(open_platform(settings, broker, on_append=on_append))
        pool = await stack.enter_async_context(open_pool(settings, "varve_projector", _DOCUMENT_CONNECTIONS))
        texts = text_processes(settings, platform.embedder.model.max_tokens)
        stack.push_async_callback(texts.close)
        processor = DocumentProcessor(
            commands=platform.commands,
            repository=platform.repository,
            blobs=platform.blobs,
            texts=texts,
            limits=ParserLimits(max_bytes=settings.max_upload_bytes),
        )
        yield DocumentWork(
            jobs=JobRunner(
                JOB_KIND,
                processor.handle,
                pool=pool,
                concurrency=_DOCUMENTS_AT_ONCE,
                passing=(StoreUnavailable, ParserUnavailable, TextProcessUnavailable),
            ),
            embeddings=EmbeddingRequests(platform.embedder, pool),
            parked_facts=ParkedFacts(pool, platform.commands),
            housekeeping=Housekeeping(pool, platform.blobs, settings.search_record_days),
        )


@asynccontextmanager
async def _open_shared_answers(settings: Settings) -> AsyncIterator[RedisAnswers]:
    """Open what keeps answers in Redis. It connects when it is first asked, and gives up soon when nobody answers."""
    client = redis.asyncio.Redis.from_url(
        settings.required_redis_url(),
        socket_timeout=_SHARED_ANSWER_SECONDS,
        socket_connect_timeout=_SHARED_ANSWER_SECONDS,
        retry=None,
    )
    async with client, AsyncExitStack() as stack:
        answers = RedisAnswers(client, seconds=settings.cache_seconds)
        run_beside(stack, answers.run())
        yield answers


@asynccontextmanager
async def _open_cache(
    settings: Settings,
    reader: AsyncConnectionPool[Any],
    shared: RedisAnswers,
    searches: SearchRecords,
    *,
    is_used: bool,
) -> AsyncIterator[AnswerCache]:
    """Open what keeps answers in this process; it follows the log only while it `is_used`."""
    age = settings.cache_age_ms / 1000 if is_used else 0.0
    changes = ReadModelChanges(reader, topics_of_read_models(), seconds=age)
    async with AsyncExitStack() as stack:
        if age:
            listener = WakeListener(settings.role_url("varve_reader"), {CHANNEL: changes.wake})
            run_beside(stack, changes.run(), listener.run())
        yield AnswerCache(
            changes,
            shared,
            most_bytes=settings.cache_megabytes * 1_000_000,
            seconds=_KEPT_SECONDS,
            together_seconds=age,
            on_hit=noting_hits(searches),
        )


def open_blobs(settings: Settings) -> Blobs:
    """Return the blob store, its folder made."""
    return Blobs(LocalStore(str(settings.blobs), mkdir=True))


def text_processes(settings: Settings, max_tokens: int) -> TextProcesses:
    """Return what cuts and analyses texts; its processes start when they are first needed, and it is to be closed."""
    cutter = PassageCutter(tokenizer(settings), max_tokens)
    return TextProcesses(cutter, TextAnalyzer(), Cutting(tokenizer_name(settings), max_tokens))


def embedder(settings: Settings) -> Embedder:
    """Return the configured embedder; its weights are loaded by the first text."""
    match settings.embedder:
        case "minilm":
            return MiniLmEmbedder(settings.models)
        case "hashing":
            return HashingEmbedder()
        case "openai":
            return _openai_embedder(settings)


def _openai_embedder(settings: Settings) -> Embedder:
    from workers.embedding.openai import OpenAIEmbedder  # its client takes half a second to import

    key = settings.embedding_api_key
    model = EmbeddingModel(
        name=settings.embedding_model or "",
        revision=settings.embedding_revision,
        dimension=settings.embedding_dimension or 0,
        max_tokens=settings.embedding_max_tokens,
        languages=(),
    )
    return OpenAIEmbedder(settings.embedding_url or "", model, None if key is None else key.get_secret_value())


def tokenizer_name(settings: Settings) -> Literal["minilm", "pattern"]:
    """Return the name of the tokenizer that goes with the configured embedding model."""
    return "minilm" if settings.embedder == "minilm" else "pattern"


def tokenizer(settings: Settings) -> Tokenizer:
    """Return the tokenizer of the configured embedding model."""
    return tokenizer_of(tokenizer_name(settings))


@contextmanager
def open_application(settings: Settings, role: DatabaseRole) -> Iterator[VarveApplication]:
    """Open the library's application, which owns mapper, topics and snapshot policy; it connects when first used."""
    application = VarveApplication(
        event_types(),
        AggregateTypes(ENTRY, DOCUMENT),
        env={"VARVE_WRITER_DATABASE_URL": settings.role_url(role)},
    )
    with application:
        yield application


def token_issuer(settings: Settings) -> TokenIssuer:
    """Return what signs tokens that this installation's API accepts."""
    return TokenIssuer(signing_key(settings.derived_key("token signing")), SystemClock())


class _Uploads:
    """The blob store as the API sees it."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def put_stream(self, tenant: str, chunks: AsyncIterator[bytes], max_bytes: int) -> StoredBlob:
        try:
            return await self._blobs.put_stream(tenant, chunks, max_bytes)
        except BlobTooLarge as too_large:
            raise DocumentTooLarge(max_bytes) from too_large


async def _warm_up(asking_embedder: Embedder) -> None:
    """Load the model's weights, so that the first question does not pay for it."""
    await asking_embedder.embed([""])
