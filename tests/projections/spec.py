"""Given events, then rows: the words of every projection's test; whatever the batches and the lanes, the same rows."""

from collections.abc import Iterable, Mapping
from typing import Any

from domain.knowledge.document import DOCUMENT
from domain.knowledge.entry import ENTRY
from domain.shared.events import Event
from eventstore.append import Appender
from projections.definition import Projection
from tests.builders.appends import append_of
from tests.projections.comparing import lines_of, stored_tables
from tests.projections.engines import Connection
from tests.projections.folding import Pool, fold, refold, variant
from tests.projections.model import Tables

TENANT = "acme"
MANY_LANES = 8
_ALL_AT_ONCE = 1_000_000
_SOME = 3

Told = Event | tuple[str, Event]
"""An event of `TENANT`, or of the tenant that is named."""


class Given:
    """A log, and a projection that will fold it."""

    def __init__(
        self, projection: Projection, events: Iterable[Told], *, appender: Appender, pool: Pool, admin: Connection
    ) -> None:
        self._projection = projection
        self._events = events
        self._appender = appender
        self._pool = pool
        self._admin = admin
        self._tables: Tables = {}

    async def then_rows(self, table: str, *rows: Mapping[str, Any]) -> None:
        """The table holds exactly these, in any order; all name the same columns, and the others may be anything."""
        found = (await self._folded())[table]
        named = rows[0] if rows else {}
        assert lines_of({name: row[name] for name in named} for row in found) == lines_of(rows)

    async def _folded(self) -> Tables:
        """Return the rows; one event at a time, all at once, in lanes and rebuilt make the same."""
        if self._tables:
            return self._tables
        await self._append()
        one_by_one = variant(self._projection, "one_by_one", BATCH=1, LANES=1)
        at_once = variant(self._projection, "at_once", BATCH=_ALL_AT_ONCE, LANES=1)
        in_lanes = variant(self._projection, "in_lanes", LANES=MANY_LANES)
        for each, most in ((one_by_one, 1), (at_once, _ALL_AT_ONCE), (in_lanes, _SOME)):
            await fold(self._pool, each, seed=1, most=most)
        await refold(self._pool, in_lanes, seed=2, most=_SOME)
        self._tables = await stored_tables(self._admin, one_by_one, 1)
        for each, generation in ((at_once, 1), (in_lanes, 1), (in_lanes, 2)):
            assert_same(await stored_tables(self._admin, each, generation), self._tables)
        return self._tables

    async def _append(self) -> None:
        versions: dict[tuple[str, str], int] = {}
        for told in self._events:
            tenant, event = told if isinstance(told, tuple) else (TENANT, told)
            stream = _stream_of(event)
            after = versions.get((tenant, stream), 0)
            await self._appender.append(append_of({stream: [event]}, after=after, tenant=tenant))
            versions[tenant, stream] = after + 1


def assert_same(tables: Tables, others: Tables) -> None:
    """Two generations hold the same rows."""
    assert {name: lines_of(rows) for name, rows in tables.items()} == {
        name: lines_of(rows) for name, rows in others.items()
    }


def _stream_of(event: Event) -> str:
    entry_id, document_id = getattr(event, "entry_id", None), getattr(event, "document_id", None)
    return ENTRY.stream(entry_id) if entry_id else DOCUMENT.stream(document_id)
