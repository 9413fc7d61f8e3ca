"""What must hold of a log after any faults: compared with what its appenders were told, and with what readers saw."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.eventstore.chaos_appender import SLOTS

_POLL_SECONDS = 0.01
_WINDOW = 2_000
_TAIL = "select position, data from varve.events where position > %s order by position limit %s"
_EVENTS = "select position, stream, version, tags, command_id, data, metadata from varve.events order by position"
_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Attempt:
    """An append as its caller knows it: `told` is None when the caller was killed before."""

    events: int
    command: str | None
    told: str | None = None
    position: int | None = None
    error: str | None = None


class Reader:
    """Follows the log over lost connections, and notes what it saw in the order in which it came."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.seen: list[tuple[int, str]] = []
        self.reconnections = 0

    async def run(self) -> None:
        while True:
            with suppress(psycopg.OperationalError):
                async with await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection:
                    await self._follow(connection)
            self.reconnections += 1
            await asyncio.sleep(_POLL_SECONDS)

    async def _follow(self, connection: psycopg.AsyncConnection[Any]) -> None:
        while True:
            last = self.seen[-1][0] if self.seen else 0
            rows = await (await connection.execute(_TAIL, (last, _WINDOW))).fetchall()
            self.seen += [(position, _attempt(data)) for position, data in rows]
            await asyncio.sleep(_POLL_SECONDS)


def attempts_of(ledgers: Path) -> dict[str, Attempt]:
    """Read what all appenders wrote down."""
    attempts: dict[str, Attempt] = {}
    for ledger in ledgers.iterdir():
        for line in ledger.read_bytes().splitlines():
            entry = json.loads(line)
            attempt = entry.pop("attempt")
            known = attempts.get(attempt)
            attempts[attempt] = Attempt(**entry) if known is None else Attempt(known.events, known.command, **entry)
    return attempts


def problems_of(
    connection: psycopg.Connection[Any], attempts: dict[str, Attempt], readers: Iterable[Reader]
) -> dict[str, list[str]]:
    """Return for each thing that must hold what speaks against it."""
    rows = connection.execute(_EVENTS.encode()).fetchall()
    log = [(position, _attempt(data)) for position, *_, data, _ in rows]
    found = {
        "positions_have_no_gaps": [str(row[0]) for number, row in enumerate(rows, start=1) if row[0] != number],
        "what_was_told_is_so": list(_told_wrongly(log, attempts)),
        "readers_saw_each_event_once_and_in_order": [
            f"a reader saw {len(reader.seen)} of {len(log)}" for reader in readers if reader.seen != log
        ],
        "versions_follow_on": list(_wrong_versions(rows)),
        "a_claim_has_one_holder": list(_wrong_claims(connection, rows)),
        "a_counter_stays_within_its_limit": list(_wrong_counters(connection, rows)),
        "a_seat_is_taken_once": [seat for seat, count in _tags(rows).items() if count > 1],
        "audit_rows_belong_to_events": list(_wrong_commands(connection, rows, attempts)),
    }
    return {name: problems[:_SHOWN] for name, problems in found.items()}


def _attempt(data: bytes) -> str:
    return str(json.loads(data)["attempt"])


def _told_wrongly(log: list[tuple[int, str]], attempts: dict[str, Attempt]) -> Iterator[str]:
    positions: defaultdict[str, list[int]] = defaultdict(list)
    for position, name in log:
        positions[name].append(position)
    for name in positions.keys() - attempts.keys():
        yield f"{name} is stored and nobody sent it"
    for name, attempt in attempts.items():
        at = positions.get(name, [])
        if at and at != list(range(at[0], at[0] + attempt.events)):
            yield f"{name} with {attempt.events} events is at {at}"
        if attempt.told == "durable" and (not at or at[-1] != attempt.position):
            yield f"{name} was told to be at {attempt.position} and is at {at}"
        if attempt.told == "refused" and at:
            yield f"{name} was refused ({attempt.error}) and is at {at}"


def _wrong_versions(rows: list[tuple[Any, ...]]) -> Iterator[str]:
    versions: Counter[str] = Counter()
    for position, stream, version, *_ in rows:
        if stream is not None:
            versions[stream] += 1
            if version != versions[stream]:
                yield f"{stream} has version {version} at {position} after {versions[stream] - 1}"


def _changes(rows: list[tuple[Any, ...]], kind: str) -> Iterator[tuple[int, Any]]:
    for position, *_, metadata in rows:
        changes = json.loads(metadata).get("changes", {})
        if kind in changes:
            yield position, changes[kind]


def _wrong_claims(connection: psycopg.Connection[Any], rows: list[tuple[Any, ...]]) -> Iterator[str]:
    changes = [(position, 0, released) for position, released in _changes(rows, "released")]
    changes += [(position, 1, taken) for position, taken in _changes(rows, "taken")]
    holders: dict[str, str] = {}
    for position, is_taking, claims in sorted(changes, key=lambda change: change[:2]):
        for claim in claims:
            if not is_taking:
                holders.pop(claim, None)
            elif claim in holders:
                yield f"{claim} is taken at {position} and {holders[claim]} holds it"
            else:
                holders[claim] = claims[claim]
    stored = dict(connection.execute("select claim, stream from varve.claims").fetchall())
    if stored != holders:
        yield f"the table has {len(stored)} claims and the log {len(holders)}"


def _wrong_counters(connection: psycopg.Connection[Any], rows: list[tuple[Any, ...]]) -> Iterator[str]:
    values: Counter[str] = Counter()
    for position, added in _changes(rows, "counters"):
        for name, add in added.items():
            values[name] += add
            if not 0 <= values[name] <= SLOTS:
                yield f"{name} is {values[name]} at {position}"
    stored = dict(connection.execute("select counter, value from varve.counters").fetchall())
    if {name: value for name, value in stored.items() if value} != {name: n for name, n in values.items() if n}:
        yield "the table has other values than the log"


def _tags(rows: list[tuple[Any, ...]]) -> Counter[str]:
    return Counter(tag for _, _, _, tags, *_ in rows for tag in tags)


def _wrong_commands(
    connection: psycopg.Connection[Any], rows: list[tuple[Any, ...]], attempts: dict[str, Attempt]
) -> Iterator[str]:
    by_command = {attempt.command: name for name, attempt in attempts.items() if attempt.command is not None}
    stored = {str(command_id) for *_, command_id, _, _ in rows} & by_command.keys()
    statuses = dict(connection.execute("select id::text, status from varve.commands").fetchall())
    accepted = {command_id for command_id, status in statuses.items() if status == "accepted"}
    for command_id in accepted ^ stored:
        yield f"{by_command.get(command_id)}: events and the audit row {command_id} are not together"
