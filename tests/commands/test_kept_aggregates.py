"""Two processes keep the same aggregates: what one appends, the other's decisions never overlook."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID, uuid4

import pytest

from commands.errors import VersionMismatch
from commands.knowledge.create_entry import CreateKnowledgeEntry
from commands.knowledge.delete_entry import DeleteKnowledgeEntry
from commands.knowledge.link_entries import LinkKnowledgeEntries
from commands.knowledge.restore_entry import RestoreKnowledgeEntry
from commands.knowledge.update_entry import UpdateKnowledgeEntry
from commands.message import Command, CommandAnswer, CommandRequest
from domain.knowledge.entry import EntryChanges, Link
from domain.knowledge.errors import EntryIsDeleted
from eventstore.errors import StoreUnavailable
from tests.builders.actors import ANN
from tests.builders.entries import new_entry
from varve.bootstrap import Platform, open_platform
from varve.settings import Settings


class Process:
    """A process of the write side, with aggregates of its own in memory."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    async def execute(self, command: Command, *, expected_version: int | None = None) -> CommandAnswer:
        request = CommandRequest(ANN, uuid4(), uuid4(), expected_version=expected_version)
        return await self._platform.commands.execute(command, request)


@pytest.fixture
async def here(settings: Settings) -> AsyncIterator[Process]:
    async with open_platform(settings) as platform:
        yield Process(platform)


@pytest.fixture
async def there(settings: Settings) -> AsyncIterator[Process]:
    async with open_platform(settings) as platform:
        yield Process(platform)


@pytest.fixture
async def entry_id(here: Process, there: Process) -> UUID:
    """An entry at version 2 that both processes keep."""
    created = await here.execute(CreateKnowledgeEntry(entry=new_entry(name="Silt")))
    assert created.aggregate_id is not None
    await here.execute(renamed(created.aggregate_id, "Clay"))
    await there.execute(renamed(created.aggregate_id, "Clay"))
    return created.aggregate_id


def renamed(entry_id: UUID, name: str) -> UpdateKnowledgeEntry:
    return UpdateKnowledgeEntry(entry_id=entry_id, changes=EntryChanges(name=name))


async def test_a_change_is_decided_on_what_the_other_appended(here: Process, there: Process, entry_id: UUID):
    await there.execute(renamed(entry_id, "Varve"))
    assert (await here.execute(renamed(entry_id, "Till"))).version == 4


async def test_a_change_back_is_no_change_to_what_is_kept_and_one_to_what_is_stored(
    here: Process, there: Process, entry_id: UUID
):
    await there.execute(renamed(entry_id, "Varve"))
    assert (await here.execute(renamed(entry_id, "Clay"))).version == 4


async def test_what_the_other_restored_is_not_refused(here: Process, there: Process, entry_id: UUID):
    await here.execute(DeleteKnowledgeEntry(entry_id=entry_id))
    await there.execute(RestoreKnowledgeEntry(entry_id=entry_id))
    assert (await here.execute(renamed(entry_id, "Till"))).version == 5


async def test_what_the_other_deleted_is_refused(here: Process, there: Process, entry_id: UUID):
    await there.execute(DeleteKnowledgeEntry(entry_id=entry_id))
    with pytest.raises(EntryIsDeleted):
        await here.execute(renamed(entry_id, "Till"))


async def test_a_link_is_not_made_to_what_the_other_deleted(here: Process, there: Process, entry_id: UUID):
    source = await here.execute(CreateKnowledgeEntry(entry=new_entry(name="Source")))
    assert source.aggregate_id is not None
    await there.execute(DeleteKnowledgeEntry(entry_id=entry_id))
    link = Link(target_id=entry_id, relation="explains")
    with pytest.raises(EntryIsDeleted):
        await here.execute(LinkKnowledgeEntries(entry_id=source.aggregate_id, link=link))


async def test_the_version_that_the_sender_saw_is_compared_with_the_log(here: Process, there: Process, entry_id: UUID):
    await there.execute(renamed(entry_id, "Varve"))
    assert (await here.execute(renamed(entry_id, "Till"), expected_version=3)).version == 4
    with pytest.raises(VersionMismatch) as mismatch:
        await there.execute(renamed(entry_id, "Loam"), expected_version=3)
    assert mismatch.value.actual == 4


async def test_a_second_change_reads_nothing(here: Process, settings: Settings, entry_id: UUID, admin: Any):
    await admin.execute("revoke select on varve.events from varve_writer")
    assert (await here.execute(renamed(entry_id, "Till"))).version == 3
    async with open_platform(settings) as started_just_now:
        with pytest.raises(StoreUnavailable, match="insufficient_privilege"):
            await Process(started_just_now).execute(renamed(entry_id, "Loam"))


async def test_what_a_restore_took_back_is_not_decided_on(here: Process, there: Process, entry_id: UUID, admin: Any):
    """An entry is renamed; the log loses that; another process renames it otherwise, up to the same version."""
    await here.execute(renamed(entry_id, "Lost"))
    await admin.execute("set session_replication_role = replica")  # or else the log could not lose anything
    await admin.execute("delete from varve.events where position = (select max(position) from varve.events)")
    await admin.execute("set session_replication_role = default")
    await admin.execute("select varve.mark_restored()")
    await admin.execute(
        "select pg_terminate_backend(pid, 5000) from pg_stat_activity where application_name like 'varve appender %'"
        " and datname = current_database()"
    )
    assert (await there.execute(renamed(entry_id, "Found"))).version == 3
    entry = await here.execute(UpdateKnowledgeEntry(entry_id=entry_id, changes=EntryChanges(description="layers")))
    assert entry.version == 4
    cursor = await admin.execute(
        "select convert_from(data, 'UTF8')::jsonb ->> 'name' from varve.events order by position desc limit 1"
    )
    assert await cursor.fetchone() == ("Found",)
