"""What each read model makes of events, in the fewest words; batches, lanes and rebuilds make the same of them."""

import pytest

from domain.knowledge.events import KnowledgeEntryDeleted
from projections.activity.user_activity import UserActivityView
from projections.definition import Projection
from projections.knowledge.document_status import DocumentStatusView
from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.rows import GONE
from tests.builders.documents import (
    DOCUMENT_ID,
    document_deleted,
    failed,
    processed,
    reprocessing_requested,
    started,
    uploaded,
)
from tests.builders.entries import (
    ENTRY_ID,
    TARGET_ID,
    created,
    deleted,
    linked,
    restored,
    unlinked,
    updated,
)
from tests.projections.counting import EventsByTopic, Listed
from tests.projections.views import read_models


class TestKnowledgeEntryListView:
    async def test_an_entry_is_as_it_was_described_last(self, given):
        renamed = updated(changed=("name", "tags"), name="Varve", tags=("silt", "ice"))
        view = given(KnowledgeEntryListView(), created(), renamed)
        row = {"entry_id": ENTRY_ID, "name": "Varve", "tags": ["ice", "silt"], "version": 2, "position": 2}
        await view.then_rows("entries", row)
        await view.then_rows("tags", {"tag": "silt"}, {"tag": "ice"})

    @pytest.mark.parametrize(("events", "is_active"), [([deleted()], False), ([deleted(), restored()], True)])
    async def test_a_deleted_entry_stays_and_may_come_back(self, given, events, is_active):
        view = given(KnowledgeEntryListView(), created(), *events)
        await view.then_rows("entries", {"entry_id": ENTRY_ID, "is_active": is_active})

    async def test_links_come_and_go(self, given):
        view = given(KnowledgeEntryListView(), created(), linked("cites"), linked("explains"), unlinked("cites"))
        await view.then_rows("entries", {"links": [{"target_id": str(TARGET_ID), "relation": "explains"}]})

    async def test_tenants_have_rows_of_their_own(self, given):
        view = given(KnowledgeEntryListView(), created(name="Clay"), ("umbra", created(name="Ash")), deleted())
        await view.then_rows(
            "entries",
            {"tenant": "acme", "name": "Clay", "is_active": False},
            {"tenant": "umbra", "name": "Ash", "is_active": True},
        )


class TestDocumentStatusView:
    async def test_a_document_has_what_was_found_in_it(self, given):
        view = given(DocumentStatusView(), uploaded(), started(), processed())
        row = {"document_id": DOCUMENT_ID, "status": "processed", "title": "Layers", "chunk_count": 7, "reason": None}
        await view.then_rows("documents", row)

    async def test_a_failure_says_why(self, given):
        view = given(DocumentStatusView(), uploaded(), started(), failed())
        await view.then_rows(
            "documents", {"status": "failed", "reason": "corrupt", "message": "The file is damaged.", "attempt": 1}
        )

    async def test_one_more_attempt_begins_anew(self, given):
        view = given(DocumentStatusView(), uploaded(), started(), failed(), reprocessing_requested())
        await view.then_rows("documents", {"status": "uploaded", "attempt": 2})

    async def test_a_deleted_document_stays(self, given):
        view = given(DocumentStatusView(), uploaded(), document_deleted())
        await view.then_rows("documents", {"document_id": DOCUMENT_ID, "status": "deleted"})


async def test_user_activity_has_each_event_and_who_caused_it(given):
    view = given(UserActivityView(), created(), uploaded(), ("umbra", created()))
    await view.then_rows(
        "activities",
        {"tenant": "acme", "user_id": "ann", "position": 1, "event_type": "KnowledgeEntryCreated"},
        {"tenant": "acme", "user_id": "ann", "position": 2, "event_type": "DocumentUploaded"},
        {"tenant": "umbra", "user_id": "ann", "position": 3, "event_type": "KnowledgeEntryCreated"},
    )


class CurrentEntries(KnowledgeEntryListView):
    """Entries as long as they are there."""

    NAME = "current_entries"

    def step(self, row, recorded):
        return GONE if isinstance(recorded.event, KnowledgeEntryDeleted) else super().step(row, recorded)


class TestARowThatIsDeleted:
    async def test_it_goes_with_what_follows_from_it(self, given):
        view = given(CurrentEntries(), created(), created(TARGET_ID, tags=("ice",)), deleted(), ("umbra", created()))
        await view.then_rows(
            "entries", {"tenant": "acme", "entry_id": TARGET_ID}, {"tenant": "umbra", "entry_id": ENTRY_ID}
        )
        await view.then_rows(
            "tags",
            {"tenant": "acme", "tag": "ice"},
            {"tenant": "umbra", "tag": "clay"},
            {"tenant": "umbra", "tag": "silt"},
        )

    async def test_it_may_be_made_anew(self, given):
        view = given(CurrentEntries(), created(), deleted(), restored(), created(name="Varve"), deleted(TARGET_ID))
        await view.then_rows("entries", {"name": "Varve", "version": 4})


class LargestBatch(Projection):
    """How many events were applied at once: nothing that a row may say."""

    NAME = "largest_batch"
    EVENTS = KnowledgeEntryListView.EVENTS
    TABLES = ("batches",)
    DDL = "create table {batches} (tenant text primary key, size bigint not null)"

    async def apply(self, connection, generation, events, prepared):
        await connection.execute(
            f"insert into {generation.table('batches')} as b values ('acme', %s) "
            "on conflict (tenant) do update set size = greatest(b.size, excluded.size)",
            (len(events),),
        )


async def test_counters_that_lanes_share_have_every_event_once(given):
    entries = [created(entry_id) for entry_id in (ENTRY_ID, TARGET_ID)]
    view = given(EventsByTopic(), *entries, deleted(ENTRY_ID), deleted(TARGET_ID), restored())
    await view.then_rows(
        "topics",
        {"tenant": "acme", "topic": "knowledge.KnowledgeEntryCreated", "count": 2},
        {"tenant": "acme", "topic": "knowledge.KnowledgeEntryDeleted", "count": 2},
        {"tenant": "acme", "topic": "knowledge.KnowledgeEntryRestored", "count": 1},
    )


class TestWhatBreaksThePromise:
    async def test_rows_that_depend_on_the_turns_of_lanes_are_found(self, given):
        events = [created(ENTRY_ID), created(TARGET_ID), deleted(ENTRY_ID), deleted(TARGET_ID)]
        with pytest.raises(AssertionError, match="positions"):
            await given(Listed(), *events).then_rows("lists", {"positions": [1, 2, 3, 4]})

    async def test_rows_that_depend_on_the_batches_are_found(self, given):
        with pytest.raises(AssertionError, match="size"):
            await given(LargestBatch(), created(), deleted()).then_rows("batches", {"size": 1})


class TestSearch:
    @pytest.fixture
    def text_leg(self, settings, embedding):
        return read_models(settings, embedding.wake)[-2]

    @pytest.fixture
    def vector_leg(self, settings, embedding):
        return read_models(settings, embedding.wake)[-1]

    async def test_the_text_leg_counts_the_terms_of_what_is_there(self, given, text_leg):
        other = created(TARGET_ID, name="Clay", description="", tags=())
        view = given(text_leg, created(name="Clay", description="grey", tags=("silt",)), other)
        await view.then_rows("terms", {"term": "clay", "chunks": 2}, {"term": "grey", "chunks": 1})
        await view.then_rows("tags", {"tag": "silt", "chunk": 1 << 20})

    async def test_the_text_leg_forgets_what_is_deleted(self, given, text_leg):
        view = given(text_leg, created(), updated(changed=("name",), name="Varve"), deleted())
        for table in ("chunks", "postings", "tags", "terms", "stats"):
            await view.then_rows(table)
        await view.then_rows("sources", {"title": "Varve", "is_active": False, "event_position": 3})

    async def test_the_vector_leg_numbers_chunks_by_their_last_change(self, given, vector_leg):
        view = given(vector_leg, created(), updated(changed=("name",), name="Varve"), ("umbra", created()))
        await view.then_rows("vectors", {"tenant": "acme", "chunk": 2 << 20}, {"tenant": "umbra", "chunk": 3 << 20})
        await view.then_rows("vector_stats", {"tenant": "acme", "chunks": 1}, {"tenant": "umbra", "chunks": 1})
