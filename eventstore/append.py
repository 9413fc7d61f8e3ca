"""The only way into the log: one command's events, audit row and idempotency record in one round trip."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import structlog
from eventsourcing.persistence import Mapper, StoredEvent
from opentelemetry import trace
from psycopg.rows import namedtuple_row
from psycopg.types.json import Jsonb
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventstore.errors import ClaimTaken, KeyReused, StoreUnavailable, StreamConflict
from eventstore.mapper import VersionedStoredEvent, canonical_json
from eventstore.records import Append, Appended, Claims, EventMetadata

log = structlog.get_logger()
tracer = trace.get_tracer("varve.eventstore")

APPEND = """
select result, last_position, epoch, recorded, command, detail from varve.append(
    %(tenant)s, %(command_id)s, %(command_type)s, %(aggregate_id)s, %(command_data)s, %(command_metadata)s, %(user)s,
    %(status)s, %(outcome)s, %(error)s, %(actor)s, %(key)s, %(fingerprint)b, %(key_seconds)s::integer, %(remember)s,
    %(streams)b::text[], %(versions)b::integer[], %(topics)b::text[], %(class_versions)b::smallint[],
    %(data)b::bytea[], %(event_metadata)b, %(taken)b::text[], %(taken_by)b::text[], %(released)b::text[])
"""

_RETRY_SECONDS = (0.05, 0.2, 0.5, 1.0, 2.0)


class Appender:
    """Appends through a pool of connections that may do nothing else; safe to share between tasks.

    A lost connection leaves the outcome unknown. The same append is then sent again: its command id is unique, so it is
    stored once however often it arrives.
    """

    def __init__(
        self, pool: AsyncConnectionPool[Any], mapper: Mapper[str], on_append: Callable[[], None] = lambda: None
    ) -> None:
        self._pool = pool
        self._mapper = mapper
        self._on_append = on_append

    async def append(self, append: Append) -> Appended:
        """Store `append` and return its position, or the outcome of the command that was stored before it.

        Raises:
            StreamConflict: a stream has moved on.
            ClaimTaken: another stream holds a claim.
            KeyReused: the idempotency key stands for another request.
            StoreUnavailable: no connection; the outcome is unknown.
        """
        with tracer.start_as_current_span("eventstore.append") as span:
            span.set_attribute("varve.events", len(append.events))
            appended = _outcome(await self._call(append_parameters(append, self._mapper)), append)
            span.set_attribute("varve.position", appended.position)
        if append.events and not appended.is_repeated:
            self._on_append()
        return appended

    async def _call(self, parameters: dict[str, Any]) -> Any:
        for delay in (*_RETRY_SECONDS, None):
            try:
                async with self._pool.connection() as connection:
                    cursor = connection.cursor(row_factory=namedtuple_row)
                    await cursor.execute(APPEND, parameters, prepare=True)
                    return await cursor.fetchone()
            except (
                psycopg.OperationalError,
                psycopg.InterfaceError,
                psycopg.errors.UniqueViolation,
                PoolTimeout,
            ) as error:
                # A unique violation here is this command's own twin, which a dead connection left behind in the lock's
                # queue: sent again, it is found.
                if delay is None or isinstance(error, PoolTimeout):
                    raise StoreUnavailable(str(error)) from error
                log.warning("append.retried", error=str(error), command_id=str(parameters["command_id"]))
                await asyncio.sleep(delay)
        raise AssertionError("the loop returns or raises")


def append_parameters(append: Append, mapper: Mapper[str]) -> dict[str, Any]:
    """Return what `APPEND` takes for a command."""
    command = append.command
    stored = [mapper.to_stored_event(event) for event in append.events]
    return event_parameters(append.tenant, stored, append.event_metadata, append.claims) | {
        "command_id": command.command_id,
        "command_type": command.command_type,
        "aggregate_id": command.aggregate_id,
        "command_data": Jsonb(command.data),
        "command_metadata": Jsonb(command.metadata),
        "user": command.user,
        "status": command.status,
        "outcome": Jsonb(command.outcome),
        "error": None if command.error is None else Jsonb(command.error),
        "actor": command.key and command.key.actor,
        "key": command.key and command.key.key,
        "fingerprint": command.key and command.key.fingerprint,
        "key_seconds": command.key and command.key.seconds,
        "remember": command.is_remembered,
    }


def event_parameters(
    tenant: str, stored: Sequence[StoredEvent], metadata: EventMetadata | None, claims: Claims
) -> dict[str, Any]:
    """Return the part of `APPEND`'s parameters that every caller has."""
    return {
        "tenant": tenant,
        "streams": [str(event.originator_id) for event in stored],
        "versions": [event.originator_version for event in stored],
        "topics": [event.topic for event in stored],
        "class_versions": [event.class_version if isinstance(event, VersionedStoredEvent) else 1 for event in stored],
        "data": [event.state for event in stored],
        "event_metadata": canonical_json({} if metadata is None else metadata.model_dump(mode="json")),
        "taken": list(claims.taken),
        "taken_by": list(claims.taken.values()),
        "released": list(claims.released),
    }


def _outcome(row: Any, append: Append) -> Appended:
    position: int = row.last_position
    epoch: str = row.epoch
    recorded_at: datetime = row.recorded
    command_id: UUID = row.command
    match row.result:
        case "appended":
            command = append.command
            return Appended(
                position, epoch, recorded_at, command_id, command.status, command.outcome, command.error, False
            )
        case "known":
            detail = row.detail
            return Appended(
                position, epoch, recorded_at, command_id, detail["status"], detail["outcome"], detail["error"], True
            )
        case "conflict":
            raise StreamConflict(row.detail["stream"], row.detail["expected"], row.detail["actual"])
        case "claimed":
            raise ClaimTaken(row.detail["claim"], row.detail["stream"])
        case "key_reused":
            raise KeyReused(append.command.key.key if append.command.key else "")
        case unexpected:
            raise AssertionError(f"varve.append answered {unexpected!r}")
