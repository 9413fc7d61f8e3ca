"""Appends with a value for everything that a test does not care about."""

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from domain.shared.events import Event
from eventstore.load import stream_events
from eventstore.records import Append, Claims, CommandRecord, EventMetadata, IdempotencyKey
from tests.builders.entries import deleted

CORRELATION_ID = UUID("0190a000-0000-7000-8000-00000000c0de")


def append_of(
    streams: Mapping[str, Sequence[Event]] | None = None,
    *,
    after: int = 0,
    tenant: str = "acme",
    claims: Claims = Claims(),  # noqa: B008 - an immutable value
    **command: Any,
) -> Append:
    """An accepted command whose events follow version `after` of each stream; one event when none are named."""
    wanted = {"entry-1": [deleted()]} if streams is None else streams
    events = tuple(event for name, new in wanted.items() for event in stream_events(name, after, new))
    metadata = EventMetadata(actor="ann", command_type="TestCommand", correlation_id=CORRELATION_ID)
    return Append(tenant, command_record(**command), events, metadata, claims)


def command_record(**fields: Any) -> CommandRecord:
    """The audit row of an accepted command."""
    values: dict[str, Any] = {
        "command_id": uuid4(),
        "command_type": "TestCommand",
        "aggregate_id": "1",
        "data": {"asked": "this"},
        "metadata": {"correlation_id": str(CORRELATION_ID)},
        "user": "ann",
        "status": "accepted",
        "outcome": {"version": 1},
    }
    return CommandRecord(**(values | fields))


def key(name: str = "k", fingerprint: bytes = b"f", actor: str = "ann", seconds: int = 60) -> IdempotencyKey:
    return IdempotencyKey(actor, name, fingerprint, seconds)
