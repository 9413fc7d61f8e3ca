"""What the read models must hold, by a plain model of its own: it shares no code with the projections."""

from collections.abc import Iterable, Iterator
from typing import Any

from tests.chaos.log import Logged

Row = dict[str, Any]

_DESCRIPTION = ("visibility", "name", "description", "entity_type", "category", "tags", "attributes")
_FILE = ("owner", "visibility", "file_name", "media_type", "size", "sha256", "category", "tags")
_CONTENT = ("title", "language", "media_type", "characters", "pages", "chunk_count")


class Model:
    """Entries, documents and activities after some events; `histories` has every state of each aggregate by version."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, str], Row] = {}
        self.documents: dict[tuple[str, str], Row] = {}
        self.activities: list[Row] = []
        self.histories: dict[tuple[str, str], list[Row]] = {}

    def apply(self, event: Logged) -> None:
        """Take one event in; they must come in order."""
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


def model_of(events: Iterable[Logged]) -> Model:
    model = Model()
    for event in events:
        model.apply(event)
    return model


def _entry_changes(row: Row, event: Logged) -> Iterator[tuple[str, Any]]:
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


def _document_changes(row: Row, event: Logged) -> Iterator[tuple[str, Any]]:
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
