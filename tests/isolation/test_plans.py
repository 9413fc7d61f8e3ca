"""Plans of lists and searches: whatever is filtered, and however it is sorted, no row of another tenant is read."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest

from domain.shared.access import Actor, PermissionDenied, Role
from eventstore.stream_reader import TenantStreams
from queries.knowledge.entry_list import ListEntries
from queries.knowledge.history import GetHistory, GetStateAt
from queries.message import Asking, Page, Query, QueryHandler
from queries.operations.projections import projections_handler
from queries.ports import KeptAnswer, KeptSummary
from queries.registry import build_handlers
from queries.search.message import SearchResults
from queries.search.search import SearchSettings, search_handler
from tests.builders.actors import actor
from tests.builders.searches import Unnoted
from tests.isolation.asked import ways_to_ask
from tests.isolation.plans import ExplainingReadModels, PlanCheck
from varve.bootstrap import event_types
from varve.pools import open_pool
from varve.settings import Settings
from workers.embedding.hashing import HashingEmbedder
from workers.text_analyzer import TextAnalyzer

Handlers = Mapping[type[Query], QueryHandler[Any, Any]]

FILL = (Path(__file__).parent / "many_tenants.sql").read_text(encoding="utf-8")
DROP_INDEXES_OF_ENTRIES = """
alter table read_models.knowledge_entry_list_1_entries drop constraint knowledge_entry_list_1_entries_pkey;
do $$ declare name regclass; begin
    for name in select indexrelid from pg_index where indrelid = 'read_models.knowledge_entry_list_1_entries'::regclass
    loop execute 'drop index ' || name; end loop;
end $$
"""
ROWS = 12_000
BOUND_BY_TIME = {"every pair: (p_1.chunk = c_2.chunk)"}
"""What the planner may choose for all words of a question and several filters until there are statistics; a question's
time limit ends it. Looked up by key it would take several times as long in all other cases."""
OF_ONE_STREAM = {GetHistory, GetStateAt}
ASKING = [actor(tenant, "ann", role) for tenant in ("acme", "tenant-7") for role in (Role.READER, Role.ADMIN)]


class Explained:
    """Asks queries, and gathers what is wrong with the plans of their questions."""

    def __init__(self, models: ExplainingReadModels, streams: TenantStreams, check: PlanCheck) -> None:
        self._models = models
        self._streams = streams
        self._check = check

    async def faults(self, query: Query, handlers: Handlers) -> set[str]:
        """Return what is wrong when anyone asks `query`, and goes on with the next page."""
        faults = set()
        for person in ASKING:
            cursor = await self._ask(query, person, handlers)
            if cursor is not None:
                await self._ask(query.model_copy(update={"cursor": cursor}), person, handlers)
            plans = self._models.take_plans()
            faults |= {f"{fault}: {query!r}" for plan in plans for fault in self._check.faults(plan)}
        return faults

    async def _ask(self, query: Query, person: Actor, handlers: Handlers) -> str | None:
        with suppress(PermissionDenied):  # before anything was read
            answer = await handlers[type(query)](query, Asking(person, self._models, self._streams))
            match answer.value:
                case Page(next_cursor=cursor):
                    return cursor
                case SearchResults(degraded=degraded):
                    assert degraded == []
        return None


def handlers(settings: SearchSettings) -> Handlers:
    return build_handlers(
        search=search_handler(HashingEmbedder(), TextAnalyzer(), settings, Unnoted()),
        projections=projections_handler(30.0),
        shared=NothingShared(),
    )


class NothingShared:
    """Keeps no answers."""

    async def get(self, tenant: str, query_hash: str) -> bytes | None:
        return None

    def put(self, tenant: str, query_hash: str, answer: KeptAnswer) -> None:
        pass

    def note_hit(self, tenant: str, query_hash: str) -> None:
        pass

    async def list(self, tenant: str, limit: int) -> Sequence[KeptSummary]:
        return []


@pytest.fixture
def has_statistics() -> bool:
    return True


@pytest.fixture
async def explained(
    settings: Settings,
    admin: psycopg.AsyncConnection[Any],
    has_statistics: bool,  # noqa: FBT001 - a fixture
) -> AsyncIterator[Explained]:
    await psycopg.AsyncClientCursor(admin).execute(FILL, {"rows": ROWS})
    if has_statistics:
        await admin.execute("vacuum analyze")
    async with open_pool(settings, "varve_reader", 4) as pool:
        streams = TenantStreams(pool, event_types())
        yield Explained(ExplainingReadModels(pool), streams, await PlanCheck.of(admin))


def with_a_new_filter() -> type[Query]:
    class ListEntriesByAuthor(ListEntries):
        author: str | None = None

    return ListEntriesByAuthor


@pytest.mark.parametrize("has_statistics", [True, False], ids=["with statistics", "after a large import"])
async def test_no_filter_and_no_order_reads_rows_of_others_or_compares_every_pair(explained: Explained, subtests):
    usual = handlers(SearchSettings())
    for query_type in usual.keys() - OF_ONE_STREAM:
        with subtests.test(query_type.__name__):
            faults = [await explained.faults(query, usual) for query in ways_to_ask(query_type)]
            found = set().union(*faults)
            assert {fault for fault in found if fault.rpartition(": ")[0] not in BOUND_BY_TIME} == set()


async def test_the_check_finds_lists_without_an_index(explained: Explained, admin: psycopg.AsyncConnection[Any]):
    usual = handlers(SearchSettings())
    assert await explained.faults(ListEntries(tag="tag-1"), usual) == set()
    await admin.execute(DROP_INDEXES_OF_ENTRIES)
    assert {fault.partition(":")[0] for fault in await explained.faults(ListEntries(), usual)} == {
        "Seq Scan of knowledge_entry_list_1_entries"
    }


async def test_the_check_finds_indexes_that_are_read_without_the_tenant(
    explained: Explained, admin: psycopg.AsyncConnection[Any]
):
    await admin.execute(DROP_INDEXES_OF_ENTRIES)
    await admin.execute("create index by_time on read_models.knowledge_entry_list_1_entries (created_at)")
    assert {fault.partition(":")[0] for fault in await explained.faults(ListEntries(), handlers(SearchSettings()))} == {
        "Index Scan by by_time of knowledge_entry_list_1_entries for all tenants"
    }


def test_a_filter_that_is_new_has_to_be_asked_for():
    with pytest.raises(LookupError, match="author has no value"):
        list(ways_to_ask(with_a_new_filter()))
