"""Lanes of a process read the log together; one that is behind alone reads no more than its own part."""

from eventstore.log import LogReader
from eventstore.slots import slot_of
from projections.generations import ensure_live
from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.leases import Known, acquire
from projections.shared_log import SharedLog
from tests.projections.counting import Listed
from tests.projections.engines import lane_of
from tests.projections.sending import create_many
from varve.bootstrap import event_types

WINDOW = 5
ENTRIES = 60


class Recorded(SharedLog):
    """Remembers the slots of the events of each window."""

    def __init__(self, pool) -> None:
        super().__init__(pool, LogReader(event_types()), WINDOW)
        self.windows = []

    async def window(self, after, wanted):
        window = await super().window(after, wanted)
        self.windows.append([slot_of(f"{event.tenant}/{event.stream}") for event in window.events])
        return window


async def halves(pool, shared_log):
    """The two lanes of the view, which read by `shared_log`, and the slots of each."""
    view = KnowledgeEntryListView()
    known = Known({view.NAME: view.definition()}, LogReader(event_types()).class_versions)
    async with pool.connection() as connection:
        await ensure_live(connection, [view])
        leases = []
        while len(leases) < view.LANES:  # what somebody has locked is left out
            leases += await acquire(connection, "worker", known, 30)
        leases.sort(key=lambda lease: lease.first_slot)
    return [(lane_of(view, lease, pool, shared_log), range(lease.first_slot, lease.last_slot + 1)) for lease in leases]


async def rows(admin) -> int:
    cursor = await admin.execute("select count(*) from read_models.knowledge_entry_list_1_entries")
    ((count,),) = await cursor.fetchall()
    return count


async def test_a_lane_that_is_behind_alone_reads_its_own_slots(platform, projector_pool, admin):
    await create_many(platform, ENTRIES)
    log = Recorded(projector_pool)
    (lane, slots), _ = await halves(projector_pool, log)
    while await lane._step():
        pass
    first, *others = log.windows
    assert len(first) == WINDOW
    assert {slot for window in others for slot in window} <= set(slots)
    assert await rows(admin) == sum(slot in slots for window in log.windows for slot in window)
    assert lane._position == ENTRIES


async def test_lanes_that_are_behind_together_read_together(platform, projector_pool, admin):
    await create_many(platform, ENTRIES)
    log = Recorded(projector_pool)
    (one, _), (other, _) = await halves(projector_pool, log)
    for _ in range(ENTRIES // WINDOW):
        await one._step()
        await other._step()
    assert {len(window) for window in log.windows} == {WINDOW}
    assert log.windows[::2] == log.windows[1::2]
    assert await rows(admin) == ENTRIES


def test_readers_can_not_choose_by_a_partition_of_the_projections_own():
    class ByOwner(Listed):
        def partition(self, recorded):
            return recorded.tenant

    assert Listed().partitioned_by() == "stream"
    assert ByOwner().partitioned_by() is None
