"""Appends that are made up. The random part is made beforehand; encoding is the product's work and is measured."""

import itertools
import random
import secrets
from dataclasses import dataclass, field
from time import time_ns
from uuid import UUID

import orjson

from domain.knowledge.events import KnowledgeEntryCreated
from domain.shared.access import Visibility
from domain.shared.ids import uuid7
from eventstore.mapper import encode
from eventstore.prepare import PreparedAppend, prepare_rows
from eventstore.records import Append, CommandRecord, EventMetadata, IdempotencyKey, JsonObject, StreamEvent
from eventstore.rows import NO_CONDITIONS, Conditions, EventRow

TENANT = "acme"
TOPIC = KnowledgeEntryCreated.TOPIC
PAYLOAD_BYTES = 300
COMMAND_TYPE = "CreateKnowledgeEntry"
USER = "benchmark"
KEY_SECONDS = 86_400

_PAYLOADS = 1_024
METADATA: JsonObject = {
    "actor": USER,
    "command_type": COMMAND_TYPE,
    "correlation_id": "0190a000-0000-7000-8000-00000000c0de",
    "causation_id": None,
    "traceparent": None,
}


def payloads(seed: int = 1) -> list[bytes]:
    """Return canonical JSON documents of 300 bytes each."""
    generator = random.Random(seed)  # noqa: S311 - text to store, not a secret
    letters = "abcdefghijklmnopqrstuvwxyz      "
    frame = len(orjson.dumps({"text": ""}))
    texts = ("".join(generator.choices(letters, k=PAYLOAD_BYTES - frame)) for _ in range(_PAYLOADS))
    return [orjson.dumps({"text": text}) for text in texts]


def new_id() -> UUID:
    return uuid7(time_ns() // 1_000_000)


def metadata_bytes() -> bytes:
    """Return what surrounds each event, as it is stored."""
    return orjson.dumps(METADATA, option=orjson.OPT_SORT_KEYS)


@dataclass(slots=True)
class MadeUp:
    """Makes one append after another, each to a stream of its own."""

    payloads: list[bytes] = field(default_factory=payloads)
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    def payload(self) -> bytes:
        return self.payloads[next(self._numbers) % _PAYLOADS]

    def bare(
        self, events: int = 1, tags: tuple[str, ...] = (), conditions: Conditions = NO_CONDITIONS
    ) -> PreparedAppend:
        """Return an append of events alone."""
        append_id = new_id()
        stream = f"entry-{append_id}"
        rows = [EventRow(stream, version, TOPIC, 1, self.payload(), tags) for version in range(1, events + 1)]
        return prepare_rows(TENANT, append_id, rows, METADATA, conditions)

    def production(self) -> PreparedAppend:
        """Return what a command writes: an event, an audit row and an idempotency record."""
        command = self.command()
        row = EventRow(f"entry-{command.command_id}", 1, TOPIC, 1, self.payload())
        return prepare_rows(TENANT, command.command_id, [row], METADATA, command=command)

    def from_domain_event(self) -> Append:
        """Return the same as the command bus hands it over, its event not encoded yet."""
        command = self.command()
        event = self.created(command.command_id)
        metadata = EventMetadata(actor=USER, command_type=COMMAND_TYPE, correlation_id=command.command_id)
        return Append(TENANT, command, (StreamEvent(f"entry-{command.command_id}", 1, event),), metadata)

    def readable(self) -> PreparedAppend:
        """Return an append of one event alone, which readers can decode."""
        append_id = new_id()
        event = self.created(append_id)
        row = EventRow(f"entry-{append_id}", 1, TOPIC, event.class_version, encode(event))
        return prepare_rows(TENANT, append_id, [row], METADATA)

    def created(self, entry_id: UUID, tags: tuple[str, ...] = ()) -> KnowledgeEntryCreated:
        """Return the event of an entry's creation."""
        return KnowledgeEntryCreated(
            entry_id=entry_id,
            owner=USER,
            visibility=Visibility.TENANT,
            name="A name",
            description=self.payload().decode()[:100],
            entity_type="note",
            category=None,
            tags=tags,
            attributes={},
        )

    def command(self, key_seconds: int = KEY_SECONDS) -> CommandRecord:
        """Return what is remembered of a command, with an idempotency key for so long."""
        command_id = new_id()
        return CommandRecord(
            command_id=command_id,
            command_type=COMMAND_TYPE,
            aggregate_id=str(command_id),
            data={"name": "A name", "text": self.payload().decode()[10:-2]},
            metadata={"correlation_id": str(command_id), "trace_id": None},
            user=USER,
            status="accepted",
            outcome={"aggregate_id": str(command_id), "version": 1, "result": {}},
            key=IdempotencyKey(USER, secrets.token_hex(16), secrets.token_bytes(32), key_seconds),
        )
