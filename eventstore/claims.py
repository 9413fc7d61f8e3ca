"""Claims and counters as the log says they are: derived anew, compared with the tables, and put right.

The first event of an append carries in its metadata what the append has changed. What was taken before events did so
stands in `varve.claims_baseline`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson
import psycopg

Connection = psycopg.AsyncConnection[Any]
Key = tuple[str, str]
"""A tenant, and the name of a claim or a counter within it."""

_LOCK = "select pg_advisory_xact_lock(7235419873250117)"
_HEAD = "select coalesce(max(position), 0) from varve.events"
_SPAN = 50_000
# Inside a text of JSON every quotation mark has a backslash before it, so this is a name.
_CHANGES = """
select tenant, position, metadata from varve.events
where position > %(after)s and position <= %(upto)s and metadata like %(pattern)s order by position
"""
_PATTERN = b'%"changes":%'
_BASELINE = "select tenant, claim, stream, position from varve.claims_baseline"
_CLAIMS = "select tenant, claim, stream from varve.claims"
_COUNTERS = "select tenant, counter, value from varve.counters"
_CORRECT = """
select varve.correct_claims(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::bigint[])
"""


@dataclass(frozen=True, slots=True)
class Difference:
    """A claim or a counter that is not what the log says; None where there is none."""

    kind: Literal["claim", "counter"]
    tenant: str
    name: str
    log: str | int | None
    table: str | int | None


@dataclass(slots=True)
class Derived:
    """What the log says up to a position."""

    position: int = 0
    baseline_position: int = 0
    claims: dict[Key, str] = field(default_factory=dict)
    counters: dict[Key, int] = field(default_factory=dict)

    def apply(self, tenant: str, position: int, changes: Mapping[str, Any]) -> None:
        """Change claims and counters as one append did: what it released first."""
        for name, add in changes.get("counters", {}).items():
            self.counters[tenant, name] = self.counters.get((tenant, name), 0) + add
        if position <= self.baseline_position:
            return
        for claim in changes.get("released", ()):
            self.claims.pop((tenant, claim), None)
        for claim, stream in changes.get("taken", {}).items():
            self.claims[tenant, claim] = stream


async def verify_claims(connection: Connection) -> list[Difference]:
    """Compare the tables with the log, as a role that sees all tenants; the log may go on meanwhile.

    Args:
        connection: in autocommit mode.
    """
    derived = await _derive(connection)
    async with connection.transaction():
        await connection.execute("set transaction isolation level repeatable read, read only")
        await _follow(connection, derived)
        return await _differences(connection, derived)


async def rebuild_claims(connection: Connection) -> list[Difference]:
    """Put right what differs, as `varve_admin`, and return it. Appends wait while the tables are compared.

    Args:
        connection: in autocommit mode.
    """
    derived = await _derive(connection)
    async with connection.transaction():
        await connection.execute(_LOCK)
        await _follow(connection, derived)
        differences = await _differences(connection, derived)
        claims = [each for each in differences if each.kind == "claim"]
        counters = [each for each in differences if each.kind == "counter"]
        await connection.execute(
            _CORRECT,
            (
                [each.tenant for each in claims],
                [each.name for each in claims],
                [each.log for each in claims],
                [each.tenant for each in counters],
                [each.name for each in counters],
                [each.log or 0 for each in counters],
            ),
        )
    return differences


async def _derive(connection: Connection) -> Derived:
    """Read the log in spans, none of them in a long transaction."""
    derived = Derived()
    for tenant, claim, stream, position in await (await connection.execute(_BASELINE)).fetchall():
        derived.claims[tenant, claim] = stream
        derived.baseline_position = position
    await _follow(connection, derived)
    return derived


async def _follow(connection: Connection, derived: Derived) -> None:
    """Bring `derived` to the log's head."""
    (head,) = await (await connection.execute(_HEAD)).fetchone() or (0,)
    while derived.position < head:
        upto = min(derived.position + _SPAN, head)
        parameters = {"after": derived.position, "upto": upto, "pattern": _PATTERN}
        cursor = await connection.execute(_CHANGES, parameters)
        for tenant, position, metadata in await cursor.fetchall():
            derived.apply(tenant, position, orjson.loads(metadata).get("changes", {}))
        derived.position = upto


async def _differences(connection: Connection, derived: Derived) -> list[Difference]:
    claims = {row[:2]: row[2] for row in await (await connection.execute(_CLAIMS)).fetchall()}
    counters = {row[:2]: row[2] for row in await (await connection.execute(_COUNTERS)).fetchall()}
    return [*_compared("claim", derived.claims, claims), *_compared("counter", derived.counters, counters)]


def _compared(
    kind: Literal["claim", "counter"], log: Mapping[Key, Any], table: Mapping[Key, Any]
) -> Iterator[Difference]:
    for tenant, name in sorted({*log, *table}):
        said, found = log.get((tenant, name)), table.get((tenant, name))
        if (said or None) != (found or None):  # a counter at 0 is as good as none
            yield Difference(kind, tenant, name, said, found)
