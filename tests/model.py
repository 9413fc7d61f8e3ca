"""The log's events as they lie in the database, and what the read models must hold after them, by a plain model.

It shares no code with the product: whoever compares a read model with it compares two independent accounts.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

Row = dict[str, Any]

_DESCRIPTION = ("visibility", "name", "description", "entity_type", "category", "tags", "attributes")
_FILE = ("owner", "visibility", "file_name", "media_type", "size", "sha256", "category", "tags")
_CONTENT = ("title", "language", "media_type", "characters", "pages", "chunk_count")


@dataclass(frozen=True, slots=True)
class LogEvent:
    """One row of the log."""

    position: int
    tenant: str
    stream: str
    version: int
    topic: str
    command_id: UUID
    data: Mapping[str, Any]
    metadata: Mapping[str, Any]
    recorded_at: datetime

    @property
    def name(self) -> str:
        return self.topic.removeprefix("knowledge.")

    @property
    def aggregate_id(self) -> str:
        return str(self.data.get("entry_id") or self.data["document_id"])


class Model:
    """Entries, documents and activities after some events; `histories` has every state of each aggregate by version."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Row] = {}
        self.documents: dict[tuple[str, str], Row] = {}
        self.activities: list[Row] = []
        self.histories: dict[tuple[str, str], list[Row]] = {}

    def apply(self, event: LogEvent) -> None:
        """Take one event in; they must come in order. What is not of the knowledge context changes nothing."""
        if not event.topic.startswith("knowledge."):
            return
        key = (event.tenant, event.aggregate_id)
        is_document = event.name.startswith("Document")
        rows, changes = (self.documents, _document_changes) if is_document else (self.entries, _entry_changes)
        row = dict(rows.get(key, {"tenant": event.tenant, "created_at": event.recorded_at}))
        row |= {"version": event.version, "position": event.position, "updated_at": event.recorded_at}
        row |= dict(changes(row, event))
        rows[key] = row
        self.histories.setdefault(key, []).append(row)
        self.activities.append(
            {
                "tenant": event.tenant,
                "user_id": event.metadata["actor"],
                "position": event.position,
                "event_type": event.name,
                "stream": event.stream,
                "command_type": event.metadata["command_type"],
                "recorded_at": event.recorded_at,
            }
        )


def model_of(events: Iterable[LogEvent]) -> Model:
    model = Model()
    for event in events:
        model.apply(event)
    return model


def _entry_changes(row: Row, event: LogEvent) -> Iterator[tuple[str, Any]]:
    data = event.data
    match event.name:
        case "KnowledgeEntryCreated":
            yield from (("entry_id", data["entry_id"]), ("owner", data["owner"]), ("is_active", True), ("links", []))
            yield from ((name, data[name]) for name in _DESCRIPTION)
        case "KnowledgeEntryUpdated":
            yield from ((name, data[name]) for name in _DESCRIPTION)
        case "KnowledgeEntryDeleted":
            yield "is_active", False
        case "KnowledgeEntryRestored":
            yield "is_active", True
        case "KnowledgeEntryLinked":
            yield "links", [*row["links"], _link(data)]
        case "KnowledgeEntryUnlinked":
            yield "links", [link for link in row["links"] if link != _link(data)]
        case unknown:
            raise AssertionError(f"the model has no rule for {unknown}")


def _document_changes(row: Row, event: LogEvent) -> Iterator[tuple[str, Any]]:
    data = event.data
    match event.name:
        case "DocumentUploaded":
            yield from (("document_id", data["document_id"]), ("status", "uploaded"), ("attempt", 1))
            yield from ((name, None) for name in (*_CONTENT, "reason", "message"))
            yield from ((name, data[name]) for name in _FILE)
        case "DocumentProcessingStarted":
            yield "status", "processing"
        case "DocumentProcessed":
            yield from (("status", "processed"), ("reason", None), ("message", None))
            yield from ((name, data[name]) for name in _CONTENT)
        case "DocumentProcessingFailed":
            yield from (("status", "failed"), ("reason", data["reason"]), ("message", data["message"]))
        case "DocumentReprocessingRequested":
            yield from (("status", "uploaded"), ("attempt", data["attempt"]))
        case "DocumentDeleted":
            yield "status", "deleted"
        case unknown:
            raise AssertionError(f"the model has no rule for {unknown}")


def _link(data: Any) -> Row:
    return {"target_id": data["target_id"], "relation": data["relation"]}
