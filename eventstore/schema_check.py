"""Whether the event classes keep what was published of them, and the publishing of new versions."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import orjson
from pydantic import JsonValue, ValidationError

from domain.shared.events import Event, InvalidUpcasting, MissingUpcaster
from eventstore.mapper import EventTypes, encode
from eventstore.published import PublishedEvents, PublishedVersion
from eventstore.schemas import differences, schema_of

_EVENT = "$"
_RESTORE = "take it back from version control: logs hold events of this version"
_KEEP = "let the class and its upcasters take the example as it is: logs hold events like it"
_MOST_QUOTED = 100


class Kind(StrEnum):
    """What can be wrong with a version of an event."""

    UNPUBLISHED = "unpublished"
    CHANGED = "changed"
    MISSING = "missing"
    DAMAGED = "damaged"
    GONE = "gone"
    NO_EXAMPLE = "no-example"
    UNREADABLE_EXAMPLE = "unreadable-example"
    INEXACT_EXAMPLE = "inexact-example"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something between the code and what is published; `field` is its JSON path, ``$`` the event itself."""

    kind: Kind
    topic: str
    class_version: int
    field: str
    what: str
    advice: str

    def __str__(self) -> str:
        return f"{self.topic} version {self.class_version}, {self.field}: {self.what}. To do: {self.advice}."


def check(event_types: EventTypes, published: PublishedEvents) -> list[Problem]:
    """Return what the code doesn't keep of what is published, and what it has that is not."""
    problems = list(_damaged(published))
    if problems:
        return problems
    problems += _gone(event_types, published)
    for event_class in event_types:
        for class_version in range(1, event_class.class_version):
            problems += _older(event_class, published.version(event_class.TOPIC, class_version))
        problems += _current(event_class, published.version(event_class.TOPIC, event_class.class_version))
    return problems


def publish(
    event_types: EventTypes, published: PublishedEvents
) -> tuple[Sequence[PublishedVersion], Sequence[Problem]]:
    """Write what is not published yet and return it; or write nothing, when there are problems, and return those.

    The examples of a new version are drafts that someone has written: they are stored as the log would have them. Of a
    published schema only texts for people are ever written again.
    """
    problems = [problem for problem in check(event_types, published) if problem.kind is not Kind.UNPUBLISHED]
    versions = [(each, published.version(each.TOPIC, each.class_version)) for each in event_types]
    new = [(event_class, version) for event_class, version in versions if not version.is_published()]
    for event_class, version in new:
        problems += _drafts(event_class, version)
    if problems:
        return (), problems
    for event_class, version in new:
        version.write_examples([encode(event_class.model_validate_json(draft)) for draft in version.examples()])
    return [version for event_class, version in versions if version.write_schema(schema_of(event_class))], ()


def broken_upcasting(error: InvalidUpcasting) -> Problem:
    """Return the problem of event classes that can't even be registered."""
    version = error.from_version if isinstance(error, MissingUpcaster) else error.class_version
    what = f"the class has class_version {error.class_version}, and its upcasters do not lead there"
    return Problem(Kind.GONE, error.topic, version, _EVENT, what, error.advice())


def _damaged(published: PublishedEvents) -> Iterator[Problem]:
    for version in published.versions():
        try:
            version.schema()
        except ValueError as error:
            yield _problem(Kind.DAMAGED, version, f"{version.schema_file.name} can not be read: {error}", _RESTORE)


def _gone(event_types: EventTypes, published: PublishedEvents) -> Iterator[Problem]:
    newest = {event_class.TOPIC: event_class.class_version for event_class in event_types}
    for version in published.versions():
        known = newest.get(version.topic)
        if known is None:
            advice = "let its class have this TOPIC and be among the registered events: logs hold events of it"
            yield _problem(Kind.GONE, version, "it is published, and no event class has this topic", advice)
        elif version.class_version > known:
            advice = f"raise class_version to {version.class_version} again: logs hold events of this version"
            yield _problem(Kind.GONE, version, f"it is published, and the class has class_version {known}", advice)


def _older(event_class: type[Event], version: PublishedVersion) -> Iterator[Problem]:
    if not version.is_published():
        yield _problem(Kind.MISSING, version, f"{version.schema_file.name} is missing", _RESTORE)
    yield from _examples(event_class, version)


def _current(event_class: type[Event], version: PublishedVersion) -> Iterator[Problem]:
    if not version.is_published():
        advice = f"write events of it into {_drafts_file(version)} and run: varve events schemas --write"
        yield _problem(Kind.UNPUBLISHED, version, "it is not published", advice)
        return
    following = version.class_version + 1
    step = f"upcast_v{version.class_version}_v{following}"
    advice = f"take the change back, or raise class_version to {following} and write {step}"
    for difference in differences(version.schema(), schema_of(event_class)):
        yield _problem(Kind.CHANGED, version, difference.what, advice, difference.field)
    yield from _examples(event_class, version)


def _examples(event_class: type[Event], version: PublishedVersion) -> Iterator[Problem]:
    """Yield what is wrong with published examples: each is read as the log would read it."""
    examples = version.examples()
    if not examples:
        yield _problem(Kind.NO_EXAMPLE, version, f"{version.examples_file.name} is missing or empty", _RESTORE)
    event_types = EventTypes(event_class)
    for number, example in enumerate(examples, start=1):
        try:
            event = event_types.decode(version.topic, version.class_version, example)
            if version.class_version == event_class.class_version:
                event = event_class.model_validate_json(example)  # with the checks that the log's reader leaves out
        except Exception as error:  # noqa: BLE001 - an upcaster is code of the domain: it may raise anything
            yield _unreadable(version, number, error, _KEEP)
            continue
        if version.class_version == event_class.class_version and encode(event) != example:
            field = _first_difference(orjson.loads(example), orjson.loads(encode(event)), _EVENT)
            what = f"example {number} comes back as other bytes: {_quoted(encode(event))}"
            yield _problem(Kind.INEXACT_EXAMPLE, version, what, _KEEP, field)


def _drafts(event_class: type[Event], version: PublishedVersion) -> Iterator[Problem]:
    drafts = version.examples()
    if not drafts:
        fields = ", ".join(sorted(event_class.model_fields)) or "no fields"
        advice = f"write events of it with {fields} into {_drafts_file(version)}"
        yield _problem(Kind.NO_EXAMPLE, version, "a new version needs examples", advice)
    for number, draft in enumerate(drafts, start=1):
        try:
            event_class.model_validate_json(draft)
        except ValidationError as error:
            yield _unreadable(version, number, error, f"mend the line in {_drafts_file(version)}")


def _problem(kind: Kind, version: PublishedVersion, what: str, advice: str, field: str = _EVENT) -> Problem:
    return Problem(kind, version.topic, version.class_version, field, what, advice)


def _unreadable(version: PublishedVersion, number: int, error: Exception, advice: str) -> Problem:
    field, cause = _EVENT, f"{type(error).__name__}: {error}"
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False, include_context=False)[0]
        field, cause = _path(first["loc"]), first["msg"]
    what = f"example {number} can not be read: {cause}"
    return _problem(Kind.UNREADABLE_EXAMPLE, version, what, advice, field)


def _drafts_file(version: PublishedVersion) -> str:
    return f"{version.examples_file} (JSON, one on a line)"


def _path(location: tuple[int | str, ...]) -> str:
    return _EVENT + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location)


def _first_difference(before: JsonValue, after: JsonValue, field: str) -> str:
    """Return the JSON path of the first place where two values differ, or `field` when only their bytes do."""
    match before, after:
        case dict(), dict() if before.keys() == after.keys():
            pairs = [(f"{field}.{name}", before[name], after[name]) for name in sorted(before)]
        case dict(), dict():
            return f"{field}.{min(before.keys() ^ after.keys())}"
        case list(), list() if len(before) == len(after):
            parts = enumerate(zip(before, after, strict=True))
            pairs = [(f"{field}[{index}]", old, new) for index, (old, new) in parts]
        case _:
            return field
    differing = (_first_difference(old, new, path) for path, old, new in pairs if old != new)
    return next(differing, field)


def _quoted(data: bytes) -> str:
    text = data.decode()
    return text if len(text) <= _MOST_QUOTED else f"{text[:_MOST_QUOTED]}…"
