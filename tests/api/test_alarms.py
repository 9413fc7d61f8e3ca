"""What operators are told of lanes: how far behind they are, whether they move, and what is wrong with them."""

from datetime import datetime

import pytest

from projections.knowledge.document_status import DocumentStatusView
from tests.builders.requests import create_entry
from tests.projections.engines import leased, until
from varve.pools import open_pool

VIEW = "document_status"
LANES = "/api/v1/admin/projections"
LEASED = "update varve.leases set owner = 'a worker', leased_until = clock_timestamp() + interval '1 hour'"
STILL = "update varve.checkpoints set advanced_at = clock_timestamp() - interval '1 minute'"
PARK = """
insert into varve.parked (projection, generation, position, tenant, partition)
values ('document_status', 1, 1, 'acme', 'acme/entry-1')
"""


@pytest.fixture
def setting_overrides():
    return {"alarm_seconds": 2.0}


@pytest.fixture
def lane_of(otto):
    """Return what the answer says of the one lane of the list of entries."""

    async def lane():
        (found,) = [lane for lane in (await otto.get(LANES)).json() if lane["projection"] == VIEW]
        return found

    return lane


@pytest.fixture
async def behind(ann, admin):
    """Lanes that a worker holds, behind a log of an event that is old enough for an alarm."""
    await create_entry(ann)
    await grow_old(admin)
    await admin.execute(LEASED)


async def grow_old(admin):
    await admin.execute("alter table varve.events disable trigger append_only")
    await admin.execute("update varve.events set recorded_at = clock_timestamp() - interval '1 minute'")
    await admin.execute("alter table varve.events enable trigger append_only")


async def test_a_lane_at_the_head_of_a_quiet_log_is_no_alarm(lane_of, admin):
    await admin.execute(LEASED)
    await admin.execute(STILL)
    lane = await lane_of()
    assert (lane["lag"], lane["lag_seconds"], lane["oldest_unapplied_at"], lane["progress"]) == (0, 0, None, 1)
    assert lane["checkpoint_age"] >= 60
    assert lane["alarm"] is None


async def test_a_lane_that_is_behind_and_does_not_move_is_stalled(lane_of, admin, behind):
    await admin.execute(STILL)
    lane = await lane_of()
    assert (lane["lag"], lane["progress"], lane["alarm"]) == (1, 0, "stalled")
    assert 60 <= lane["lag_seconds"] < 90
    assert datetime.fromisoformat(lane["oldest_unapplied_at"]) < datetime.fromisoformat(lane["renewed_at"])


@pytest.mark.parametrize(
    "moving",
    [
        "update varve.checkpoints set advanced_at = clock_timestamp()",
        "update varve.leases set moved_at = clock_timestamp()",
        "update varve.leases set filled_to = 1",
    ],
    ids=["its checkpoint advances", "a rebuild reads on", "a rebuild holds everything in memory"],
)
async def test_a_lane_that_moves_is_not_stalled(lane_of, admin, behind, moving):
    await admin.execute(STILL)
    await admin.execute(moving)
    assert (await lane_of())["alarm"] is None


async def test_a_lane_whose_indexes_are_made_is_not_stalled(lane_of, ann, admin, behind):
    await create_entry(ann)
    await grow_old(admin)
    await admin.execute("update varve.checkpoints set position = 1")
    await admin.execute(STILL)
    assert (await lane_of())["alarm"] == "stalled"
    await admin.execute("update varve.generations set is_indexed = false")
    assert (await lane_of())["alarm"] is None


@pytest.mark.parametrize(
    ("change", "alarm"),
    [
        ("update varve.generations set paused_at = clock_timestamp(), pause_reason = 'a test'", "paused"),
        ("update varve.leases set needs_topic = 'knowledge.New', needs_version = 2, owner = null", "needs_newer_code"),
        ("update varve.leases set leased_until = null, renewed_at = clock_timestamp() - interval '3 s'", "no_owner"),
        ("update varve.leases set leased_until = null, renewed_at = clock_timestamp()", None),
        ("update varve.leases set failures = 1, error = 'ValueError'", "failing"),
        (PARK, "parked"),
        ("update varve.generations set status = 'retired'", None),
    ],
)
async def test_what_is_wrong_with_a_lane_has_a_name(lane_of, admin, change, alarm):
    await admin.execute(LEASED)
    await admin.execute(change)
    assert (await lane_of())["alarm"] == alarm


async def test_what_explains_the_others_is_named_first(lane_of, admin, behind):
    await admin.execute(STILL)
    await admin.execute(PARK)
    assert (await lane_of())["alarm"] == "stalled"
    await admin.execute("update varve.leases set failures = 1")
    assert (await lane_of())["alarm"] == "failing"
    await admin.execute("update varve.leases set leased_until = null, renewed_at = clock_timestamp() - interval '3 s'")
    assert (await lane_of())["alarm"] == "no_owner"


async def test_a_worker_shows_that_it_lives_though_there_is_nothing_to_do(lane_of, engine):
    first = (await lane_of())["renewed_at"]

    async def has_renewed():
        return (await lane_of())["renewed_at"] > first

    await until(has_renewed, "the heartbeat is newer")


async def test_a_lane_that_passes_events_shows_how_fast(lane_of, ann, engine):
    async def moves():
        await create_entry(ann)
        return (await lane_of())["rate"] > 0

    await until(moves, "a rate")


async def test_a_lane_that_is_nobodys_has_no_rate(lane_of, admin):
    await admin.execute("update varve.leases set rate = 1000, leased_until = null")
    assert (await lane_of())["rate"] == 0


async def test_a_lane_that_was_taken_over_has_nothing_in_memory(lane_of, admin, behind, settings):
    await admin.execute("update varve.leases set filled_to = 1, leased_until = null")
    assert (await lane_of())["lag"] == 0
    async with open_pool(settings, "varve_projector", 1) as pool:
        await leased(pool, DocumentStatusView(), "another worker", 30)
    assert (await lane_of())["lag"] == 1
