"""Events that this code does not know, as newer code or another application appends them."""

from typing import Any

import psycopg

from eventstore.position import LogPosition

UNKNOWN = "knowledge.EntryPinned"
_APPEND = """
insert into varve.events (tenant, position, stream, version, topic, class_version, tags, data, metadata, recorded_at)
select 'acme', varve.head() + 1, %(stream)s,
       coalesce((select max(version) from varve.events where tenant = 'acme' and stream = %(stream)s), 0) + 1,
       %(topic)s, %(class_version)s, %(tags)s, %(data)s,
       '{"actor":"ann","command_type":"PinEntry","correlation_id":"00000000-0000-0000-0000-000000000001"}',
       clock_timestamp()
returning position
"""


async def append_unknown(
    admin: psycopg.AsyncConnection[Any],
    topic: str = UNKNOWN,
    class_version: int = 1,
    *,
    stream: str = "entry-00000000-0000-0000-0000-00000000cafe",
    data: bytes = b'{"pin":"red"}',
    tags: tuple[str, ...] = (),
) -> int:
    """Append an event as newer code does, and return its position."""
    parameters = {"topic": topic, "class_version": class_version, "stream": stream, "data": data, "tags": list(tags)}
    ((position,),) = await (await admin.execute(_APPEND, parameters)).fetchall()
    return int(position)


async def token_of(admin: psycopg.AsyncConnection[Any], position: int) -> str:
    ((epoch,),) = await (
        await admin.execute("select epoch from varve.log_epochs order by number desc limit 1")
    ).fetchall()
    return str(LogPosition(epoch, position))
