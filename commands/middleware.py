"""What every command passes through, each a function that wraps the next; `commands.bus` has the order."""

from collections.abc import Awaitable, Callable

import structlog
from opentelemetry import trace

from commands.errors import ConcurrentChange, RememberedRefusal, VersionMismatch
from commands.message import Command, CommandAnswer, CommandRequest, Execute
from domain.shared.errors import DomainError
from eventstore.errors import BoundaryCrossed, HistoryChanged, StoreUnavailable, StreamConflict

log = structlog.get_logger()
tracer = trace.get_tracer("varve.commands")

_ATTEMPTS = 8

RecordRefusal = Callable[[Command, CommandRequest, Exception], Awaitable[CommandAnswer]]


def traced(execute: Execute) -> Execute:
    """Give each command a span and a log line of the same name."""

    async def wrapped(command: Command, request: CommandRequest) -> CommandAnswer:
        with tracer.start_as_current_span("command.execute") as span:
            span.set_attribute("varve.command", command.name())
            span.set_attribute("varve.tenant", request.actor.tenant)
            try:
                answer = await execute(command, request)
            except (DomainError, RememberedRefusal) as refusal:
                log.info("command.refused", command=command.name(), refusal=type(refusal).__name__)
                raise
            log.info("command.executed", command=command.name(), position=str(answer.position))
            return answer

    return wrapped


def recorded(record_refusal: RecordRefusal) -> Callable[[Execute], Execute]:
    """Leave an audit row for refusals and failures too.

    The row goes through the log's lock: a key that was answered before is answered with that again.
    """

    def wrap(execute: Execute) -> Execute:
        async def wrapped(command: Command, request: CommandRequest) -> CommandAnswer:
            try:
                return await execute(command, request)
            except RememberedRefusal:
                raise
            except DomainError as refusal:
                return await record_refusal(command, request, refusal)
            except StoreUnavailable:
                raise
            except Exception as failure:
                log.exception("command.failed", command=command.name())
                await record_refusal(command, request, failure)
                raise

        return wrapped

    return wrap


def authorised(execute: Execute) -> Execute:
    """Refuse what the actor's roles don't allow, before anything is loaded."""

    async def wrapped(command: Command, request: CommandRequest) -> CommandAnswer:
        request.actor.require(command.PERMISSION)
        return await execute(command, request)

    return wrapped


def retried(execute: Execute) -> Execute:
    """Decide anew when another append was faster, unless the sender named the version that it had seen.

    A log that was restored or whose server was replaced meanwhile is decided on anew in any case.
    """

    async def wrapped(command: Command, request: CommandRequest) -> CommandAnswer:
        stream: str | None = None
        for _ in range(_ATTEMPTS):
            try:
                return await execute(command, request)
            except HistoryChanged:
                stream = None
            except StreamConflict as conflict:
                if request.expected_version is not None:
                    raise VersionMismatch(request.expected_version, conflict.actual) from conflict
                stream = conflict.stream
            except BoundaryCrossed as crossed:
                stream = f"the log at {crossed.position}"
        if stream is None:
            raise StoreUnavailable("the log's server was replaced again and again")
        raise ConcurrentChange(stream)

    return wrapped
