"""How long an aggregate takes to load, few events or many: snapshots should make it the same."""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any
from uuid import UUID

from benchmarks.appends.made_up import TENANT, USER, new_id
from benchmarks.appends.measured import Bench, Contender, Slice, Target
from domain.knowledge.entry import ENTRY
from domain.knowledge.events import EntryEvent, KnowledgeEntryCreated, KnowledgeEntryUpdated
from domain.shared.access import Visibility
from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.load import AggregateRepository
from eventstore.mapper import PydanticMapper, encode
from eventstore.prepare import prepare_rows
from eventstore.rows import EventRow
from eventstore.snapshots import SnapshotPolicy, SnapshotTaker
from varve.bootstrap import event_types
from varve.pools import open_pool

_APPENDED_AT_ONCE = 2_000
_FEW = 10
_LONGEST_TAIL = SnapshotPolicy().events - 1


async def loading(bench: Bench) -> list[dict[str, Any]]:
    """Aggregates of 10, 1,000 and 100,000 events, 10 of them after the snapshot; and the longest tail there can be.

    Snapshots are taken as in production: by a load that has read too much.
    """
    async with AsyncExitStack() as stack:
        settings = stack.enter_context(bench.server.database())
        batches = await stack.enter_async_context(open_batch_appender(settings.role_url("varve_writer")))
        pool = await stack.enter_async_context(open_pool(settings, "varve_writer", 1))
        taker = SnapshotTaker(pool, SnapshotPolicy())
        repository = AggregateRepository(pool, PydanticMapper(event_types()), taker.note)

        async def contender(name: str, events: int, tail: int) -> Contender:
            entry_id = new_id()
            if before := events - tail:
                await _fill(batches, entry_id, range(1, before + 1))
                await repository.load(ENTRY, TENANT, entry_id)
                await taker.write_waiting()
            await _fill(batches, entry_id, range(before + 1, events + 1))

            async def run(seconds: float) -> Slice:
                milliseconds = []
                end = time.perf_counter() + seconds
                while (started := time.perf_counter()) < end:
                    loaded = await repository.load(ENTRY, TENANT, entry_id)
                    milliseconds.append((time.perf_counter() - started) * 1000)
                    assert loaded.version == events
                return Slice.of(seconds, milliseconds)

            return Contender(name, run)

        contenders = [
            await contender("10 events", _FEW, _FEW),
            await contender("1,000 events", 1_000, _FEW),
            await contender("100,000 events", 100_000, _FEW),
            await contender(f"100,000 events, {_LONGEST_TAIL} after the snapshot", 100_000, _LONGEST_TAIL),
        ]
        targets = [Target(each.name, "10 events", "≤", 1.5, of="p50_ms") for each in contenders[1:]]
        return await bench.measure("load", contenders, targets)


async def _fill(batches: BatchAppender, entry_id: UUID, versions: range) -> None:
    for start in range(0, len(versions), _APPENDED_AT_ONCE):
        some = versions[start : start + _APPENDED_AT_ONCE]
        await batches.append(prepare_rows(TENANT, new_id(), _rows(entry_id, some), {}))


def _rows(entry_id: UUID, versions: Sequence[int]) -> list[EventRow]:
    return [
        EventRow(ENTRY.stream(entry_id), version, event.TOPIC, event.class_version, encode(event))
        for version in versions
        for event in [_event(entry_id, version)]
    ]


def _event(entry_id: UUID, version: int) -> EntryEvent:
    description = f"As it is described for the {version}th time. " * 4
    if version > 1:
        return KnowledgeEntryUpdated(
            entry_id=entry_id,
            visibility=Visibility.TENANT,
            name="A name",
            description=description,
            entity_type="note",
            category=None,
            tags=(),
            attributes={},
            changed=("description",),
        )
    return KnowledgeEntryCreated(
        entry_id=entry_id,
        owner=USER,
        visibility=Visibility.TENANT,
        name="A name",
        description=description,
        entity_type="note",
        category=None,
        tags=(),
        attributes={},
    )
