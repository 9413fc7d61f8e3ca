"""Commands as a client sends them, again and again with the same key until the outcome is known, and their answers."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx

UNKNOWN_OUTCOME = frozenset({503, 504})
"""Statuses after which the same command is to be sent again with the same key."""
_REMEMBERED_REFUSALS = frozenset({404, 409, 422})
_PAUSE_SECONDS = 0.1
_MOST_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class File:
    name: str
    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Intent:
    """What a client wants: the request, and what must hold once it was accepted.

    `wanted` are fields of the aggregate, by `action`.
    """

    action: str
    method: str
    path: str
    body: Any = None
    file: File | None = None
    if_match: int | None = None
    target: str | None = None
    wanted: Any = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What the same key must always be answered with."""

    status: int
    body: Any
    position: str | None
    command_id: str | None
    etag: str | None

    @property
    def is_accepted(self) -> bool:
        return self.status < 300

    @property
    def is_remembered(self) -> bool:
        return self.is_accepted or self.status in _REMEMBERED_REFUSALS

    @property
    def at(self) -> int:
        """The place in the log that the token names."""
        return int((self.position or "-0").rpartition("-")[2])

    @property
    def version(self) -> int:
        return int((self.etag or '"0"').strip('"'))


@dataclass(frozen=True, slots=True)
class Exchange:
    """A command that was answered, and how often it had to be sent."""

    tenant: str
    user: str
    key: str
    intent: Intent
    answer: Answer
    attempts: int


@dataclass
class Ledger:
    """Everything that was answered, and everything that no client should ever see."""

    exchanges: list[Exchange] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    unknown_outcomes: Counter[str] = field(default_factory=Counter)
    server_errors: Counter[str] = field(default_factory=Counter)
    repetitions: int = 0
    reads: int = 0
    reads_checked: int = 0
    acknowledged_sent_at: float = 0.0
    """When the last attempt that was acknowledged as a new command was sent, by the monotonic clock."""

    def violated(self, what: str) -> None:
        if len(self.violations) < 100:  # a broken run has thousands
            self.violations.append(what)


class Sender:
    """Sends as one user."""

    def __init__(self, http: httpx.AsyncClient, tenant: str, user: str, ledger: Ledger) -> None:
        self._http = http
        self.tenant = tenant
        self.user = user
        self.ledger = ledger

    async def send(self, intent: Intent, key: str) -> tuple[Answer, int]:
        """Send until the outcome is known; return it, and how many attempts it took.

        Raises:
            TimeoutError: it never was.
        """
        attempts = 0
        async with asyncio.timeout(_MOST_SECONDS):
            while True:
                attempts += 1
                sent_at = time.monotonic()
                response = await self._attempt(intent, key)
                if response is not None:
                    if response.is_success and "Idempotency-Replayed" not in response.headers:
                        self.ledger.acknowledged_sent_at = max(self.ledger.acknowledged_sent_at, sent_at)
                    return _answer(response), attempts
                await asyncio.sleep(_PAUSE_SECONDS)

    async def get(self, path: str, position: str | None = None, **parameters: Any) -> httpx.Response | None:
        """Read once; None when no answer came, or one that says to ask again."""
        self.ledger.reads += 1
        headers = {} if position is None else {"X-Min-Position": position}
        try:
            response = await self._http.get(path, params=parameters, headers=headers)
        except httpx.TransportError:
            return None
        return None if self._is_to_be_asked_again("GET", path, response) else response

    async def post(self, path: str, content: bytes, key: str) -> httpx.Response | None:
        """Send a body as it is, once; None when no answer came, or one that says to send it again."""
        headers = {"Idempotency-Key": key, "Content-Type": "application/json"}
        try:
            response = await self._http.post(path, content=content, headers=headers)
        except httpx.TransportError as error:
            self.ledger.unknown_outcomes[type(error).__name__] += 1
            return None
        return None if self._is_to_be_asked_again("POST", path, response) else response

    async def _attempt(self, intent: Intent, key: str) -> httpx.Response | None:
        headers = {"Idempotency-Key": key}
        if intent.if_match is not None:
            headers["If-Match"] = f'"{intent.if_match}"'
        content: Mapping[str, Any] = {} if intent.body is None else {"json": intent.body}
        if intent.file is not None:
            content = {"files": {"file": (intent.file.name, intent.file.content, intent.file.media_type)}}
        try:
            response = await self._http.request(intent.method, intent.path, headers=headers, **content)
        except httpx.TransportError as error:
            self.ledger.unknown_outcomes[type(error).__name__] += 1
            return None
        return None if self._is_to_be_asked_again(intent.method, intent.path, response) else response

    def _is_to_be_asked_again(self, method: str, path: str, response: httpx.Response) -> bool:
        if response.status_code in UNKNOWN_OUTCOME:
            self.ledger.unknown_outcomes[str(response.status_code)] += 1
            return True
        if response.status_code >= 500:
            self.ledger.server_errors[f"{method} {path.split('/')[1]} {response.status_code}"] += 1
            return True
        return response.status_code == 409 and response.json()["type"].endswith("concurrent-change")


def _answer(response: httpx.Response) -> Answer:
    return Answer(
        status=response.status_code,
        body=response.json() if response.content else None,
        position=response.headers.get("X-Position"),
        command_id=response.headers.get("X-Command-Id"),
        etag=response.headers.get("ETag"),
    )
