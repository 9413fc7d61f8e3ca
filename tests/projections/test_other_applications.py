"""Read models beside other applications of the library: neither lanes nor rebuilds stand at their events."""

import asyncio
from uuid import uuid4

from eventsourcing.persistence import StoredEvent
from eventsourcing.utils import Environment

from commands.operations.projections import RebuildProjection
from domain.knowledge.events import KnowledgeEntryCreated
from domain.operations.events import ParkedEventSkipped
from eventstore.persistence import VarveFactory
from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.operations.operator_requests import OperatorRequests
from tests.builders import actors
from tests.projections.counting import Listed, positions
from tests.projections.engines import engine_of, until, until_caught_up, until_live
from tests.projections.sending import create, send

VIEW = KnowledgeEntryListView.NAME
TOPICS = ("kennel:Dog.Registered", KnowledgeEntryCreated.TOPIC, ParkedEventSkipped.TOPIC)


async def append_foreign(settings) -> None:
    """Append events of topics that are unknown or ours, as the application `Kennel`; their data are none of ours."""

    def append() -> None:
        environment = {"VARVE_WRITER_DATABASE_URL": settings.role_url("varve_writer"), "VARVE_TENANT": "acme"}
        factory = VarveFactory(Environment("Kennel", environment))
        stored = [StoredEvent(str(uuid4()), 1, topic, b"\x00pickled") for topic in TOPICS]
        factory.application_recorder().insert_events(stored)
        factory.close()

    await asyncio.to_thread(append)


async def test_lanes_rebuilds_and_comparisons_pass_them_by(settings, platform, admin):
    await append_foreign(settings)
    await create(platform, "one")
    view = KnowledgeEntryListView()
    async with engine_of(settings, [Listed(), view, OperatorRequests({VIEW: view})]):
        await until_caught_up(admin, ["listed", VIEW, OperatorRequests.NAME])
        await append_foreign(settings)
        await create(platform, "two")
        await until_caught_up(admin, ["listed", VIEW, OperatorRequests.NAME])
        await send(platform, RebuildProjection(projection=VIEW), actors.OTTO_OPERATES)
        await until_live(admin, VIEW, 2)
        verify = RebuildProjection(projection=VIEW, plan={"purpose": "verify"})
        await send(platform, verify, actors.OTTO_OPERATES)

        async def is_verified() -> bool:
            cursor = await admin.execute("select differing from varve.verifications")
            return await cursor.fetchall() == [(0,)]

        await until(is_verified, "nothing differs")
    assert await positions(admin, "listed") == {"acme": [4, 8]}
    assert (await admin.execute("select from varve.parked")).rowcount == 0
    ((entries,),) = await (await admin.execute(f"select count(*) from read_models.{VIEW}_2_entries")).fetchall()
    assert entries == 2
