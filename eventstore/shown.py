"""Events as people are shown them: also those that this code can't decode, and those of other applications."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from pydantic import JsonValue

from domain.shared.events import Event
from eventstore.errors import UnknownEventType
from eventstore.log_filter import SIZE
from eventstore.mapper import EventTypes
from eventstore.records import JsonObject


@dataclass(frozen=True, slots=True)
class ShownEvent:
    """An event as it is stored, and what this code makes of it.

    Attributes:
        tenant: whose it is.
        position: its place in the log.
        stream: its stream, None for one that has only tags.
        version: its place in the stream.
        topic: as stored.
        class_version: as stored.
        stored_data: its bytes.
        stored_metadata: those of who caused it.
        recorded_at: when it was appended.
        application: the name of another application that wrote it, None for Varve's own.
        event: None when this code can't decode it, and for another application's.
        unknown: why not, as a sentence.
    """

    tenant: str
    position: int
    stream: str | None
    version: int | None
    topic: str
    class_version: int
    stored_data: bytes
    stored_metadata: bytes
    recorded_at: datetime
    application: str | None
    event: Event | None
    unknown: str | None

    @property
    def name(self) -> str:
        return self.topic if self.event is None else type(self.event).__name__

    @property
    def data(self) -> JsonValue:
        """Return the event as JSON: as this code sees it, or else as stored, or else its text."""
        if self.event is not None:
            fields: JsonObject = self.event.model_dump(mode="json")
            return fields
        return _json_or_text(self.stored_data)

    @property
    def metadata(self) -> JsonObject:
        """Return who caused the event and by what, empty when that can't be read."""
        found = _json_or_text(self.stored_metadata)
        return found if isinstance(found, dict) else {}

    @property
    def actor(self) -> str:
        return str(self.metadata.get("actor", ""))


def shown(row: Sequence[Any], application: str | None, event_types: EventTypes) -> ShownEvent:
    """Return a row of the log, which begins with the columns of a window, as it is to be shown."""
    event, unknown = _decoded(row, application, event_types)
    tenant, position, stream, version, topic, class_version, data, metadata, recorded_at = row[:SIZE]
    stored = (tenant, position, stream, version, topic, class_version, data, metadata, recorded_at)
    return ShownEvent(*stored, application, event, unknown)


def _decoded(row: Sequence[Any], application: str | None, event_types: EventTypes) -> tuple[Event | None, str | None]:
    _, _, _, _, topic, class_version, data, *_ = row
    if application is not None:
        return None, f"the application {application} wrote it"
    try:
        return event_types.decode(topic, class_version, data), None
    except UnknownEventType as error:
        return None, str(error)
    except Exception as error:  # noqa: BLE001 - upcasters are code of many hands
        return None, f"it does not fit {topic}: {type(error).__name__}"


def _json_or_text(stored: bytes) -> JsonValue:
    try:
        found: JsonValue = orjson.loads(stored)
    except orjson.JSONDecodeError:
        return stored.decode("utf-8", errors="backslashreplace")
    return found
