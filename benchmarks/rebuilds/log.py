"""The log that is folded: entries of ten events each, which are created, updated eight times and linked."""

import asyncio
from typing import Any

import psycopg

from benchmarks.appends.made_up import METADATA, TENANT, MadeUp, new_id
from domain.knowledge.events import KnowledgeEntryLinked, KnowledgeEntryUpdated
from domain.shared.access import Visibility
from eventstore.batch_appender import BatchAppender
from eventstore.mapper import encode
from eventstore.prepare import prepare_rows
from eventstore.rows import EventRow

EVENTS_EACH = 10
_APPENDED_AT_ONCE = 200  # entries
_LOOK_SECONDS = 0.02

Admin = psycopg.AsyncConnection[Any]


async def fill(batches: BatchAppender, events: int) -> None:
    """Append whole entries that have so many events together."""
    made_up, entries = MadeUp(), events // EVENTS_EACH
    for start in range(0, entries, _APPENDED_AT_ONCE):
        rows = [row for _ in range(min(_APPENDED_AT_ONCE, entries - start)) for row in _entry(made_up)]
        await batches.append(prepare_rows(TENANT, new_id(), rows, METADATA))


async def until_live(admin: Admin, projection: str, generation: int) -> None:
    """Wait until a generation is the one that is read."""
    query = "select count(*) from varve.generations where projection = %s and generation = %s and status = 'live'"
    while await (await admin.execute(query, (projection, generation))).fetchone() != (1,):  # noqa: ASYNC110 - as below
        await asyncio.sleep(_LOOK_SECONDS)


async def until_at_head(admin: Admin, projection: str) -> None:
    """Wait until every lane of a projection has reached the log's end."""
    query = "select min(position) = varve.head() from varve.lanes where projection = %s"
    while await (await admin.execute(query, (projection,))).fetchone() != (True,):  # noqa: ASYNC110 - a database
        await asyncio.sleep(_LOOK_SECONDS)


def _entry(made_up: MadeUp) -> list[EventRow]:
    entry_id = new_id()
    created = made_up.created(entry_id, ("clay", "silt"))
    described = created.model_dump(exclude={"owner", "visibility"})
    updates = [
        KnowledgeEntryUpdated(**described | {"name": f"Name {number}"}, visibility=Visibility.TENANT, changed=("name",))
        for number in range(EVENTS_EACH - 2)
    ]
    linked = KnowledgeEntryLinked(entry_id=entry_id, target_id=new_id(), relation="cites")
    return [
        EventRow(f"entry-{entry_id}", version, event.TOPIC, event.class_version, encode(event))
        for version, event in enumerate([created, *updates, linked], start=1)
    ]
