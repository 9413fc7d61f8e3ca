"""What the audit keeps of a command: enough to know what was asked, not the content itself."""

from pydantic import JsonValue

from eventstore.records import JsonObject

_LONGEST = 200


def redacted(data: JsonObject) -> JsonObject:
    """Return `data` with long texts replaced by their length."""
    return {_shortened(key): _redacted(value) for key, value in data.items()}


def _redacted(value: JsonValue) -> JsonValue:
    match value:
        case str():
            return _shortened(value)
        case dict():
            return redacted(value)
        case list() if len(value) > _LONGEST:
            return f"({len(value)} items)"
        case list():
            return [_redacted(item) for item in value]
        case _:
            return value


def _shortened(text: str) -> str:
    return text if len(text) <= _LONGEST else f"({len(text)} characters)"
