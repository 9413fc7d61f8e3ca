"""Executes commands: the one pipeline that every command goes through, whoever sends it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal, NoReturn, TypeVar
from uuid import UUID

import structlog
from opentelemetry import propagate, trace
from opentelemetry.trace import format_trace_id
from pydantic import BaseModel

from commands.errors import IdempotencyKeyReused, RememberedRefusal, VersionMismatch
from commands.message import Command, CommandAnswer, CommandRequest, Decision, Execute, Handler
from commands.middleware import authorised, recorded, retried, traced
from commands.redaction import redacted
from domain.shared.access import Actor, PermissionDenied
from domain.shared.aggregates import AggregateType
from domain.shared.errors import DomainError
from domain.shared.ids import Clock, Ids
from eventstore.aggregate_cache import AggregateCache
from eventstore.append import Appender
from eventstore.errors import ClaimTaken, KeyReused, StreamConflict
from eventstore.load import Loaded, stream_events
from eventstore.position import LogPosition
from eventstore.records import (
    NO_CLAIMS,
    Append,
    Appended,
    Boundary,
    Claims,
    CommandRecord,
    EventMetadata,
    IdempotencyKey,
    JsonObject,
    StreamEvent,
)

log = structlog.get_logger()

S = TypeVar("S", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class _Handling:
    """What a handler is given; it notes what the decision was made on."""

    actor: Actor
    now: datetime
    ids: Ids
    aggregates: AggregateCache
    read: dict[str, tuple[AggregateType[Any], Loaded[Any]]] = field(default_factory=dict)
    kept: set[str] = field(default_factory=set)
    """The streams whose state was not read now, so that it may be out of date."""

    def new_id(self) -> UUID:
        return self.ids.new()

    async def load(self, aggregate_type: AggregateType[S], aggregate_id: UUID) -> Loaded[S]:
        stream = aggregate_type.stream(aggregate_id)
        if self.aggregates.is_kept(self.actor.tenant, stream):
            self.kept.add(stream)
        loaded = await self.aggregates.load(aggregate_type, self.actor.tenant, aggregate_id)
        self.read[stream] = (aggregate_type, loaded)
        return loaded

    def forget(self) -> None:
        """Let what was read be read anew."""
        for stream in self.read:
            self.aggregates.forget(self.actor.tenant, stream)

    def expected(self) -> dict[str, int]:
        """Return the versions that the decision holds at."""
        return {stream: loaded.version for stream, (_, loaded) in self.read.items()}


class CommandBus:
    """Sends a command to its handler and its decision to the log."""

    def __init__(
        self,
        *,
        handlers: Mapping[type[Command], Handler[Any]],
        appender: Appender,
        aggregates: AggregateCache,
        clock: Clock,
        ids: Ids,
        key_seconds: int,
    ) -> None:
        self._handlers = handlers
        self._appender = appender
        self._aggregates = aggregates
        self._clock = clock
        self._ids = ids
        self._key_seconds = key_seconds
        self._execute: Execute = self._decide
        for wrap in reversed(
            [
                traced,  # outermost: the span covers everything
                recorded(self._record_refusal),  # whatever is refused further in leaves an audit row
                authorised,  # before anything is loaded
                retried,  # around the decision alone
            ]
        ):
            self._execute = wrap(self._execute)

    async def execute(self, command: Command, request: CommandRequest) -> CommandAnswer:
        """Execute `command` and answer when its events are durable.

        Raises:
            DomainError: it was refused; the audit row is written.
            RememberedRefusal: the same request was refused before.
            StoreUnavailable: the database can't be reached. Send the same command with the same key again.
        """
        answer: CommandAnswer = await self._execute(command, request)
        return answer

    async def refuse_unread(
        self, command: type[Command], request: CommandRequest, aggregate_id: str | None
    ) -> NoReturn:
        """Refuse a command that the actor's roles don't allow, before it is received; the audit row has no data.

        A remembered answer is not given again: without the command nothing says that it is the same request.

        Raises:
            PermissionDenied: always, once the audit row is written.
            StoreUnavailable: the row can't be written.
        """
        refusal = PermissionDenied(command.PERMISSION)
        record = CommandRecord(
            command_id=request.command_id,
            command_type=command.name(),
            aggregate_id=aggregate_id,
            data={},
            metadata=_audit_metadata(request),
            user=request.actor.user,
            status="refused",
            outcome={},
            error=_error(type(refusal).__name__, refusal.sentence(), refusal.data()),
            is_remembered=False,
        )
        log.info("command.refused", command=command.name(), refusal=type(refusal).__name__)
        await self._append(record, request)
        raise refusal

    async def _decide(self, command: Command, request: CommandRequest) -> CommandAnswer:
        handling = self._handling(request)
        try:
            decision = await self._decision(command, request, handling)
        except DomainError:
            if not handling.kept:
                raise
            handling.forget()  # what was kept may be out of date, and a refusal is never checked by an append
            handling = self._handling(request)
            decision = await self._decision(command, request, handling)
        try:
            answer = await self._append_decision(command, request, decision, handling.expected())
        except StreamConflict:
            handling.forget()
            raise
        if not answer.is_repeated:
            self._keep(decision, handling)
        return answer

    def _handling(self, request: CommandRequest) -> _Handling:
        return _Handling(request.actor, self._clock.now(), self._ids, self._aggregates)

    async def _decision(self, command: Command, request: CommandRequest, handling: _Handling) -> Decision:
        decision = await self._handlers[type(command)](command, handling)
        seen = decision.streams[0].version
        if request.expected_version not in {None, seen}:
            raise VersionMismatch(request.expected_version or 0, seen)
        return decision

    async def _append_decision(
        self, command: Command, request: CommandRequest, decision: Decision, expected: dict[str, int]
    ) -> CommandAnswer:
        events = tuple(
            event
            for stream in decision.streams
            for event in stream_events(stream.stream, stream.version, stream.events, stream.tags)
        )
        outcome: JsonObject = {
            "aggregate_id": None if decision.aggregate_id is None else str(decision.aggregate_id),
            "version": decision.version,
            "result": decision.result,
        }
        record = self._record(command, request, "accepted", outcome=outcome)
        written = {stream.stream for stream in decision.streams if stream.events}
        read = {stream: version for stream, version in expected.items() if stream not in written}
        try:
            return await self._append(record, request, events, decision.claims, read, decision.boundary)
        except ClaimTaken as taken:
            raise decision.refuse_claim(taken.stream) from taken

    def _keep(self, decision: Decision, handling: _Handling) -> None:
        """Keep what the decision made of the streams that it wrote."""
        for stream in decision.streams:
            if stream.stream in handling.read:
                aggregate_type, loaded = handling.read[stream.stream]
                self._aggregates.appended(aggregate_type, handling.actor.tenant, loaded, stream.events)

    async def _record_refusal(self, command: Command, request: CommandRequest, refusal: Exception) -> CommandAnswer:
        """Write the audit row of a refusal, then raise it, unless its idempotency key was answered before."""
        if isinstance(refusal, DomainError):
            record = self._record(command, request, "refused")
            error = _error(type(refusal).__name__, refusal.detail(), refusal.data())
            record = replace(record, error=error, is_remembered=refusal.remembered)
        else:
            record = self._record(command, request, "failed")
            error = _error(type(refusal).__name__, "internal error", {})
            record = replace(record, error=error, is_remembered=False)
        if isinstance(refusal, IdempotencyKeyReused):
            record = replace(record, key=None)  # the key belongs to another request
        try:
            answer = await self._append(record, request)
        except IdempotencyKeyReused:
            # The key stands for another request, which the sender is told; the attempt is audited without it.
            await self._append(replace(record, key=None), request)
            raise
        if answer.is_repeated:
            return answer
        raise refusal

    async def _append(
        self,
        record: CommandRecord,
        request: CommandRequest,
        events: tuple[StreamEvent, ...] = (),
        claims: Claims = NO_CLAIMS,
        expected: Mapping[str, int] = MappingProxyType({}),
        boundary: Boundary | None = None,
    ) -> CommandAnswer:
        carrier: dict[str, str] = {}
        propagate.inject(carrier)
        metadata = EventMetadata(
            actor=request.actor.user,
            command_type=record.command_type,
            correlation_id=request.correlation_id,
            causation_id=request.causation_id,
            traceparent=carrier.get("traceparent"),
        )
        try:
            appended = await self._appender.append(
                Append(request.actor.tenant, record, events, metadata, claims, boundary=boundary, expected=expected)
            )
        except KeyReused as reused:
            raise IdempotencyKeyReused(reused.key) from reused
        return _answer(appended)

    def _record(
        self,
        command: Command,
        request: CommandRequest,
        status: Literal["accepted", "refused", "failed"],
        outcome: JsonObject | None = None,
    ) -> CommandRecord:
        key = None
        if request.key is not None:
            key = IdempotencyKey(request.actor.user, request.key.key, request.key.fingerprint, self._key_seconds)
        return CommandRecord(
            command_id=request.command_id,
            command_type=command.name(),
            aggregate_id=command.aggregate_id(),
            data=redacted(command),
            metadata=_audit_metadata(request),
            user=request.actor.user,
            status=status,
            outcome=outcome or {},
            key=key,
        )


def _answer(appended: Appended) -> CommandAnswer:
    """Return the answer of a stored command, or raise the refusal that was stored."""
    if appended.is_repeated and appended.error is not None:
        error: Any = appended.error
        raise RememberedRefusal(error["code"], error["message"], error["data"])
    outcome: Any = appended.outcome
    aggregate_id = outcome.get("aggregate_id")
    return CommandAnswer(
        command_id=appended.command_id,
        aggregate_id=aggregate_id and UUID(aggregate_id),
        version=outcome.get("version", 0),
        position=LogPosition(appended.epoch, appended.position),
        result=outcome.get("result", {}),
        is_repeated=appended.is_repeated,
    )


def _audit_metadata(request: CommandRequest) -> JsonObject:
    return {"correlation_id": str(request.correlation_id), "trace_id": _trace_id()}


def _error(code: str, message: str, data: Mapping[str, str | int]) -> JsonObject:
    return {"code": code, "message": message, "data": dict(data)}


def _trace_id() -> str | None:
    context = trace.get_current_span().get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else None
