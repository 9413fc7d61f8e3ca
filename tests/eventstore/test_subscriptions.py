"""A subscription delivers every event once and in order, soon after its commit, whatever happens to connections."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from domain.knowledge.events import KnowledgeEntryCreated, KnowledgeEntryDeleted, KnowledgeEntryLinked
from eventstore.append import Appender, open_appender
from eventstore.errors import ForeignEpoch
from eventstore.log import LogReader, UnknownEvent, Window
from eventstore.log_filter import EVERYTHING, LogFilter
from eventstore.mapper import EventTypes, PydanticMapper
from eventstore.position import LogPosition
from eventstore.slots import SlotRange
from eventstore.subscribe import Subscription, subscribe
from eventstore.wake import WakeSender
from tests.builders.appends import append_of
from tests.builders.entries import created, deleted, linked
from tests.fixtures.engine import running
from varve.bootstrap import event_types
from varve.embedded import DataDirectory, PostgresTuning, running_services
from varve.migrate import migrate_now
from varve.settings import Settings

APPENDERS, TASKS, APPENDS = 4, 4, 12
EVENTS = [created(), linked(), deleted()]
FILTERS = {
    "everything": EVERYTHING,
    "topics": LogFilter(topics=frozenset({KnowledgeEntryLinked.TOPIC, KnowledgeEntryDeleted.TOPIC})),
    "a tenant": LogFilter(tenant="umbra"),
    "a slot": LogFilter(slots=SlotRange(80, 170)),
    "nothing": LogFilter(tenant="nobody"),
}
OURS = "usename = 'varve_projector' and datname = current_database()"
"""Sessions of the subscriptions: those that read and those that listen."""


@asynccontextmanager
async def subscription_of(
    settings: Settings, types: EventTypes | None = None, **options: Any
) -> AsyncIterator[Subscription]:
    reader, url = LogReader(types or event_types()), settings.role_url("varve_projector")
    async with subscribe(reader, url, listen_url=url, **options) as opened:
        yield opened


async def read_until(
    subscription: Subscription, position: int, on_window: Callable[[], Awaitable[None]] | None = None
) -> list[Window]:
    """Read up to `position`, and do something slow with each window."""
    windows = []
    async with asyncio.timeout(40):
        async for window in subscription:
            windows.append(window)
            if on_window:
                await on_window()
            if window.scanned_to >= position:
                return windows
    raise AssertionError("a subscription has no end")


async def append_many(settings: Settings, pause: float = 0.0) -> int:
    """Append from several appenders at once, as several processes would; return the last position."""

    async def one(number: int) -> None:
        sender = WakeSender(settings.role_url("varve_writer"))
        mapper = PydanticMapper(event_types())
        async with running(sender.run()), open_appender(settings.role_url("varve_writer"), mapper, sender.wake) as own:

            async def task(name: str) -> None:
                for count in range(APPENDS):
                    tenant = ("acme", "umbra")[count % 2]
                    await own.append(append_of({f"{name}-{count}": EVENTS}, tenant=tenant))
                    await asyncio.sleep(pause)

            await asyncio.gather(*(task(f"{number}-{each}") for each in range(TASKS)))

    await asyncio.gather(*(one(number) for number in range(APPENDERS)))
    return APPENDERS * TASKS * APPENDS * len(EVENTS)


async def positions(admin, wanted: LogFilter) -> list[int]:
    """Return what a subscription with that filter has to deliver."""
    rows = await (await admin.execute("select position, topic, tenant, stream from varve.events order by 1")).fetchall()
    return [
        position
        for position, topic, tenant, stream in rows
        if (not wanted.topics or topic in wanted.topics)
        and wanted.tenant in {None, tenant}
        and (wanted.slots is None or wanted.slots.takes(tenant, stream))
    ]


def delivered(windows: list[Window]) -> list[int]:
    return [event.position for window in windows for event in window.events]


def scanned(windows: list[Window]) -> list[int]:
    return [window.scanned_to for window in windows]


@asynccontextmanager
async def read_by_all(settings, wanted_position, on_window=None) -> AsyncIterator[dict[str, list[Window]]]:
    """Read with every filter at once during the block, and up to the position at its end."""
    found: dict[str, list[Window]] = {}

    async def read(name: str) -> None:
        async with subscription_of(settings, wanted=FILTERS[name], limit=20) as subscription:
            found[name] = await read_until(subscription, wanted_position, on_window)

    async with asyncio.TaskGroup() as tasks:
        for name in FILTERS:
            tasks.create_task(read(name))
        yield found


async def test_every_event_is_delivered_once_and_in_order_while_four_appenders_append(settings, admin):
    async with read_by_all(settings, APPENDERS * TASKS * APPENDS * len(EVENTS)) as found:
        last = await append_many(settings)
    for name, windows in found.items():
        assert delivered(windows) == await positions(admin, FILTERS[name]), name
        assert scanned(windows) == sorted(set(scanned(windows))), name
        assert windows[-1].scanned_to == last, name


async def test_connections_that_are_killed_all_the_time_lose_and_repeat_nothing(settings, admin):
    killed = 0

    async def kill() -> None:
        nonlocal killed
        while True:
            await asyncio.sleep(0.1)
            cursor = await admin.execute(f"select pg_terminate_backend(pid) from pg_stat_activity where {OURS}")
            killed += len(await cursor.fetchall())

    async def be_slow() -> None:
        await asyncio.sleep(0.02)

    async with running(kill()), read_by_all(settings, 576, be_slow) as found:
        assert await append_many(settings, pause=0.05) == 576
    assert killed > 20
    for name, windows in found.items():
        assert delivered(windows) == await positions(admin, FILTERS[name]), name


@pytest.fixture
def own_directory() -> Iterator[DataDirectory]:
    """The data directory of a server that a test may stop."""
    with tempfile.TemporaryDirectory(prefix="varve-tests-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o711)  # as root the servers run as another user, who has to come through
        yield DataDirectory.prepare(folder / "project" / ".varve", system_folder=folder / "system")


@asynccontextmanager
async def own_server(directory: DataDirectory) -> AsyncIterator[Settings]:
    server = running_services(directory, tuning=PostgresTuning.for_throwaway_data())
    urls = await asyncio.to_thread(server.__enter__)
    try:
        settings = Settings(
            data_directory=directory.path / "unused",
            database_url=SecretStr(urls.admin_database_url),
            redis_url=SecretStr(urls.redis_url),
            secret_key=SecretStr("a secret key of a server that lives for seconds"),
            embedder="hashing",
        )
        await asyncio.to_thread(migrate_now, settings)
        yield settings
    finally:
        await asyncio.to_thread(server.__exit__, None, None, None)


async def test_a_restarted_server_is_followed_on(own_directory):
    async with AsyncExitStack() as stack:
        async with own_server(own_directory) as settings:
            subscription = await stack.enter_async_context(subscription_of(settings))
            reading = await stack.enter_async_context(running(read_until(subscription, 4)))
            await append_two(settings, "before")
        await asyncio.sleep(0.3)
        assert not reading.done()
        async with own_server(own_directory) as settings:
            await append_two(settings, "after")
            assert delivered(await reading) == [1, 2, 3, 4]


async def append_two(settings: Settings, name: str) -> None:
    mapper = PydanticMapper(event_types())
    async with open_appender(settings.role_url("varve_writer"), mapper) as appender:
        await appender.append(append_of({name: [created(), deleted()]}))


async def test_a_window_comes_soon_after_the_commit(settings, capsys):
    sender = WakeSender(settings.role_url("varve_writer"))
    mapper = PydanticMapper(event_types())
    seconds: list[float] = []
    async with (
        running(sender.run()),
        open_appender(settings.role_url("varve_writer"), mapper, sender.wake) as appender,
        subscription_of(settings, poll_seconds=30.0) as subscription,
    ):
        for number in range(60):
            reading = asyncio.create_task(read_until(subscription, number + 1))
            await asyncio.sleep(0.01)
            await appender.append(append_of({f"s{number}": [created()]}))
            committed = time.perf_counter()
            await reading
            seconds.append(time.perf_counter() - committed)
    seconds.sort()
    with capsys.disabled():
        print(f"\nfrom commit to delivery: p50 {seconds[30] * 1e3:.1f} ms, p95 {seconds[57] * 1e3:.1f} ms")  # noqa: T201


async def test_without_wake_ups_the_log_is_polled(appender: Appender, settings):
    nowhere = "postgresql://nobody@127.0.0.1:1/nothing"
    url = settings.role_url("varve_projector")
    async with subscribe(LogReader(event_types()), url, listen_url=nowhere, poll_seconds=0.05) as subscription:
        reading = asyncio.create_task(read_until(subscription, 1))
        await asyncio.sleep(0.2)
        await appender.append(append_of())
        assert delivered(await reading) == [1]


async def test_a_filter_that_matches_nothing_comes_to_the_head(appender: Appender, settings):
    await appender.append(append_of({"a": EVENTS}))
    async with subscription_of(settings, wanted=FILTERS["nothing"]) as subscription:
        window = await anext(subscription)
    assert (window.events, window.scanned_to, window.is_full) == ([], 3, False)


async def test_an_event_of_newer_code_comes_after_all_before_it_and_can_be_waited_for_or_skipped(
    appender: Appender, settings
):
    await appender.append(append_of({"a": EVENTS}))
    older = EventTypes(KnowledgeEntryCreated, KnowledgeEntryDeleted)
    async with subscription_of(settings, older) as subscription:
        assert delivered([await anext(subscription)]) == [1]
        for _ in range(2):  # asking again is to wait for newer code
            with pytest.raises(UnknownEvent) as unknown:
                await anext(subscription)
            assert (unknown.value.topic, unknown.value.position) == (KnowledgeEntryLinked.TOPIC, 2)
        subscription.skip(unknown.value)
        assert delivered([await anext(subscription)]) == [3]


async def test_a_reading_that_is_cancelled_loses_nothing(appender: Appender, settings):
    found: list[Window] = []

    async def append() -> None:
        for number in range(30):
            await appender.append(append_of({f"s{number}": [created()]}))
            await asyncio.sleep(0.005)

    async with subscription_of(settings, poll_seconds=0.01) as subscription, running(append()), asyncio.timeout(30):
        while not found or found[-1].scanned_to < 30:
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    found.append(await anext(subscription))
    assert delivered(found) == list(range(1, 31))


async def test_nothing_is_open_on_the_server_while_a_slow_reader_works(appender: Appender, settings, admin):
    await appender.append(append_of({"a": EVENTS}))
    async with subscription_of(settings, limit=1) as subscription:
        assert delivered([await anext(subscription)]) == [1]
        sessions: list[tuple[bool]] = []
        async with asyncio.timeout(10):
            while len(sessions) < 2:  # the listener's may still be on its way
                sessions = await (
                    await admin.execute(f"select xact_start is null from pg_stat_activity where {OURS}")
                ).fetchall()
        assert all(is_idle for (is_idle,) in sessions)
        assert delivered([await anext(subscription)]) == [2]


@pytest.fixture
async def epoch(admin) -> str:
    (found,) = await (await admin.execute("select epoch from varve.log_epochs")).fetchone()
    return str(found)


async def test_a_history_that_holds_all_that_was_read_is_followed(appender: Appender, settings, admin, epoch):
    await appender.append(append_of({"a": EVENTS}))
    async with subscription_of(settings, after=LogPosition(epoch, 1)) as subscription:
        assert delivered([await anext(subscription)]) == [2, 3]
        (newer,) = await (await admin.execute("select epoch from varve.mark_restored()")).fetchone()
        await appender.append(append_of({"b": EVENTS}))
        window = await anext(subscription)
    assert (delivered([window]), window.epoch) == ([4, 5, 6], newer)


async def test_a_reader_that_is_ahead_of_a_restored_log_is_told_so(appender: Appender, settings, admin, epoch):
    await appender.append(append_of({"a": EVENTS}))
    async with subscription_of(settings, after=LogPosition(epoch, 5)) as subscription:
        (newer,) = await (await admin.execute("select epoch from varve.mark_restored()")).fetchone()
        await appender.append(append_of({"b": EVENTS}))
        with pytest.raises(ForeignEpoch) as foreign:
            await anext(subscription)
    assert foreign.value.fork_position == str(LogPosition(newer, 3))
