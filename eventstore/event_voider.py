"""Voids wrong events, as an operator's command: checked, audited, and at once with others of its kind."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import time_ns
from typing import Any, Literal

import psycopg
from psycopg.rows import class_row

from domain.shared.ids import uuid7
from eventstore.batch_appender import BatchAppender
from eventstore.errors import BoundaryCrossed, EventStoreError, StoreUnavailable, StreamConflict
from eventstore.mapper import encode
from eventstore.position import LogPosition
from eventstore.prepare import prepare_rows
from eventstore.records import Boundary, BoundaryItem, CommandRecord, EventMetadata, JsonObject
from eventstore.rows import NO_CONDITIONS, Conditions, EventRow
from eventstore.voiding import EventVoided

_WRONG = """
select (select max(position) from varve.events) as head, e.stream, e.version, e.topic, e.tags, v.voided_by,
       coalesce((select s.version from varve.events s where s.tenant = e.tenant and s.stream = e.stream
                 order by s.version desc limit 1), 0) as stream_version
from varve.events e left join varve.voided v using (tenant, position)
where e.tenant = %(tenant)s and e.position = %(position)s
"""
_ATTEMPTS = 10

Status = Literal["accepted", "refused"]


@dataclass(frozen=True, slots=True)
class Voided:
    """The event that is left out from now on, and the position of the one that says so."""

    stream: str | None
    version: int | None
    topic: str
    position: LogPosition


@dataclass(eq=False)
class NotVoidable(EventStoreError):
    """The event can't be voided; `reason` says why."""

    reason: str

    def __str__(self) -> str:
        return self.reason


class EventVoider:
    """Voids events on behalf of operators."""

    def __init__(self, connection: psycopg.AsyncConnection[Any], appender: BatchAppender) -> None:
        """Take what to look at the log with, as a role that sees all tenants, and what to append with."""
        self._connection = connection
        self._appender = appender

    async def void(self, tenant: str, wrong: LogPosition, reason: str, user: str) -> Voided:
        """Append the event that voids the one at `wrong`, with the audit row of the command; refusals are audited.

        Raises:
            NotVoidable: there is no such event of the tenant, it voids another, or it was voided before.
            StoreUnavailable: no connection; the outcome is unknown.
        """
        for _ in range(_ATTEMPTS):
            try:
                return await self._void(tenant, wrong, reason, user)
            except NotVoidable as refusal:
                error: JsonObject = {"code": "NotVoidable", "message": refusal.reason, "data": {}}
                command = _command(wrong, reason, user, "refused", error)
                await self._appender.append(prepare_rows(tenant, command.command_id, [], {}, command=command))
                raise
            except (StreamConflict, BoundaryCrossed):
                continue  # the stream has moved on
        raise StoreUnavailable(f"the stream of {wrong} does not stand still")

    async def _void(self, tenant: str, at: LogPosition, reason: str, user: str) -> Voided:
        wrong = await self._look(tenant, at)
        event = EventVoided(position=at.position, version=wrong.version, topic=wrong.topic, reason=reason)
        version = None if wrong.stream is None else wrong.stream_version + 1
        row = EventRow(wrong.stream, version, event.TOPIC, event.class_version, encode(event), tuple(wrong.tags))
        command = _command(at, reason, user, "accepted", None)
        metadata = EventMetadata(
            actor=user, command_type=command.command_type, correlation_id=command.command_id
        ).model_dump(mode="json")
        # Two at once: in a stream the second one finds it moved on; without one, the first's event stands in its way.
        alone = Boundary((BoundaryItem((event.TOPIC,), tuple(wrong.tags)),), after=wrong.head)
        conditions = Conditions(boundary=alone) if wrong.stream is None else NO_CONDITIONS
        appended = await self._appender.append(
            prepare_rows(tenant, command.command_id, [row], metadata, conditions, command=command)
        )
        return Voided(wrong.stream, wrong.version, wrong.topic, LogPosition(appended.epoch, appended.position))

    async def _look(self, tenant: str, at: LogPosition) -> "_Wrong":
        cursor = self._connection.cursor(row_factory=class_row(_Wrong))
        await cursor.execute(_WRONG, {"tenant": tenant, "position": at.position})
        wrong = await cursor.fetchone()
        if wrong is None:
            raise NotVoidable(f"tenant {tenant} has no event at {at}")
        if wrong.topic == EventVoided.TOPIC:
            raise NotVoidable(f"the event at {at} voids another one, and can't be voided itself")
        if wrong.voided_by is not None:
            raise NotVoidable(f"the event at {at} was voided before, by {LogPosition(at.epoch, wrong.voided_by)}")
        return wrong


@dataclass(frozen=True, slots=True)
class _Wrong:
    head: int
    stream: str | None
    version: int | None
    stream_version: int
    topic: str
    tags: Sequence[str]
    voided_by: int | None


def _command(wrong: LogPosition, reason: str, user: str, status: Status, error: JsonObject | None) -> CommandRecord:
    return CommandRecord(
        command_id=uuid7(time_ns() // 1_000_000),
        command_type="VoidEvent",
        aggregate_id=None,
        data={"position": str(wrong), "reason": reason},
        metadata={},
        user=user,
        status=status,
        outcome={},
        error=error,
    )
