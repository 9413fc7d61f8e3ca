"""What the audit keeps of a command: enough to know what was asked, not the content itself."""

from pydantic import JsonValue

from eventstore.records import JsonObject

_LONGEST = 200


def redacted(data: JsonObject) -> JsonObject:
    """Return `data` with long texts replaced by their length."""
    return {key: _redacted(value) for key, value in data.items()}


def _redacted(value: JsonValue) -> JsonValue:
    match value:
        case str() if len(value) > _LONGEST:
            return f"({len(value)} characters)"
        case dict():
            return redacted(value)
        case list() if len(value) > _LONGEST:
            return f"({len(value)} items)"
        case list():
            return [_redacted(item) for item in value]
        case _:
            return value
