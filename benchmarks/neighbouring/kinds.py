"""The kinds of hostile load, each as the requests that a tenant sends in turn, and how many of them a second."""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode

from benchmarks import hostile

USER = "mallory"
"""Who sends what an editor may send."""

_BOUNDARY = "hostile-file"
_FILE_NUMBERS = itertools.count()
_JSON = "application/json"
_LARGE_TEXTS = ("dots", "one-word", "different-words")
"""The texts that are sent at the largest size too."""


@dataclass(frozen=True, slots=True)
class Sent:
    """One request of the hostile tenant.

    Attributes:
        is_readers: whether it is sent with the token of a reader.
    """

    method: str
    path: str
    body: bytes = b""
    media_type: str = _JSON
    is_readers: bool = False


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bytes, or characters of texts; the defaults are near the limits, or as large as a steady load allows."""

    text: int = 60_000
    large_text: int = hostile.MOST_DESCRIPTION
    body: int = 5_000_000
    large_body: int = hostile.MOST_BODY - 100_000
    batch: int = 2_000_000
    file: int = 500_000
    large_file: int = 5_000_000
    question: int = hostile.MOST_QUESTION


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of load.

    Attributes:
        requests: makes them, without an end.
        per_second: how many are begun in a second at the most.
        at_once: how many are sent at the same time at the most; one more waits.
        locks_a_model: whether an operator's session holds the read model that is asked for.
    """

    requests: Callable[[Sizes], Iterator[Sent]]
    per_second: float
    at_once: int
    locks_a_model: bool = False


def _texts(sizes: Sizes) -> Iterator[Sent]:
    large = {f"large {name}": hostile.TEXTS[name](sizes.large_text) for name in _LARGE_TEXTS}
    texts = {name: make(sizes.text) for name, make in hostile.TEXTS.items()} | large
    bodies = [json.dumps({"name": name, "description": text}).encode() for name, text in texts.items()]
    return (Sent("POST", "/entries", body) for body in itertools.cycle(bodies))


def _bodies(sizes: Sizes) -> Iterator[Sent]:
    """Every other time round, all of them come from a user who may not even send a small one."""
    bodies = [(each.path, each.content(sizes.body)) for each in hostile.BODIES.values()]
    bodies += [("/entries", hostile.BODIES["tags-of-nulls"].content(sizes.large_body))]
    for is_readers in itertools.cycle((False, True)):
        yield from (Sent("POST", path, body, is_readers=is_readers) for path, body in bodies)


def _batches(sizes: Sizes) -> Iterator[Sent]:
    batches = [json.dumps({"entries": entries}).encode() for entries in hostile.batches(sizes.batch).values()]
    return (Sent("POST", "/entries:batch", body) for body in itertools.cycle(batches))


def _files(sizes: Sizes) -> Iterator[Sent]:
    """Each time round, in later loads too, they have another first line: a file that is there is not taken twice."""
    for number in _FILE_NUMBERS:
        for name, shape in hostile.FILES.items():
            size = sizes.large_file if number % 4 == 3 else sizes.file
            content = shape.content(f"hostile {number}", size)
            media_type = f"multipart/form-data; boundary={_BOUNDARY}"
            yield Sent("POST", "/documents", _form(f"{name}.{shape.suffix}", shape.media_type, content), media_type)


def _form(file_name: str, media_type: str, content: bytes) -> bytes:
    head = f'Content-Disposition: form-data; name="file"; filename="{file_name}"\r\nContent-Type: {media_type}'
    return f"--{_BOUNDARY}\r\n{head}\r\n\r\n".encode() + content + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _searches(sizes: Sizes) -> Iterator[Sent]:
    """Each time round with fewer characters, so that no cache has the answer."""
    for number in itertools.count():
        for parameters in hostile.searches(sizes.question - number % (sizes.question // 2)).values():
            yield Sent("GET", f"/search?{urlencode(parameters)}")


def _reads(_sizes: Sizes) -> Iterator[Sent]:
    for limit in itertools.cycle(range(1, 200)):
        yield Sent("GET", f"/activity?{urlencode({'user': USER, 'limit': limit})}")


LOCKED_MODEL = "user_activity"
"""The read model of `_reads`; no time of the neighbour's is of it."""

KINDS: Mapping[str, Kind] = {
    "texts": Kind(_texts, per_second=2, at_once=4),
    "bodies": Kind(_bodies, per_second=4, at_once=4),
    "batches": Kind(_batches, per_second=0.25, at_once=2),
    "files": Kind(_files, per_second=1, at_once=4),
    "searches": Kind(_searches, per_second=20, at_once=8),
    "locked reads": Kind(_reads, per_second=50, at_once=100, locks_a_model=True),
}
