"""Lanes are split and merged in place, at any time, and no event is lost, doubled or out of order."""

import asyncio
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.slots import SLOTS, slot_of
from projections.layout import Span, merged, split
from tests.projections.counting import Listed, logged_positions, positions
from tests.projections.engines import engine_of, lanes, until, until_caught_up
from tests.projections.sending import create_many

WHOLE = Span(0, SLOTS - 1, 7)


@given(st.integers(1, 2 * SLOTS))
def test_split_lanes_cover_every_slot_once_and_keep_the_position(wanted):
    spans = split([WHOLE], wanted)
    assert len(spans) == min(wanted, SLOTS)
    assert [slot for span in spans for slot in range(span.first, span.last + 1)] == list(range(SLOTS))
    assert {span.position for span in spans} == {7}
    widths = [span.last - span.first + 1 for span in spans]
    assert max(widths) <= 2 * min(widths)


@given(st.integers(1, 40), st.integers(1, 40), st.randoms(use_true_random=False))
def test_only_neighbours_at_one_position_become_one(have, wanted, chance):
    spans = [span._replace(position=chance.choice((7, 8))) for span in split([WHOLE], have)]
    after = merged(spans, wanted)
    assert [slot for span in after for slot in range(span.first, span.last + 1)] == list(range(SLOTS))
    where = {slot: span.position for span in spans for slot in range(span.first, span.last + 1)}
    assert all(where[slot] == span.position for span in after for slot in range(span.first, span.last + 1))
    if len({span.position for span in spans}) == 1:
        assert len(after) == min(have, wanted)


def test_lanes_at_unequal_positions_stay_apart():
    spans = [Span(0, 127, 3), Span(128, 255, 4)]
    assert merged(spans, 1) == spans


def in_lanes(number: int) -> Listed:
    class InLanes(Listed):
        NAME = "listed"
        LANES = number

        def partition(self, recorded):
            return recorded.tenant  # its rows are by tenant

    return InLanes()


async def lane_count(admin) -> int:
    return len(await lanes(admin, "listed"))


@pytest.mark.parametrize(("before", "after"), [(1, 5), (5, 1), (4, 3)])
async def test_a_changed_number_of_lanes_needs_no_rebuild(settings, platform, admin, before, after):
    async with engine_of(settings, [in_lanes(before)]):
        await create_many(platform, 20)
        await until_caught_up(admin, ["listed"])
        assert await lane_count(admin) == before
    async with engine_of(settings, [in_lanes(after)]):
        await create_many(platform, 20)

        async def is_changed() -> bool:
            return await lane_count(admin) == after

        await until(is_changed, "the lanes are changed")
        await create_many(platform, 20)
        await until_caught_up(admin, ["listed"])
    assert {lane["generation"] for lane in await lanes(admin, "listed")} == {1}
    assert await positions(admin, "listed") == await logged_positions(admin)


async def test_lanes_change_under_load_and_every_event_is_applied_once(settings, platform, admin):
    chance = random.Random(5)  # noqa: S311 - a pace, not a secret
    writing = asyncio.create_task(_write(platform))
    for number in (1, 6, 2, 8, 3, 1):
        async with engine_of(settings, [in_lanes(number)], window_size=5), engine_of(settings, [in_lanes(number)]):
            await asyncio.sleep(chance.uniform(0.5, 1.2))
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    async with engine_of(settings, [in_lanes(1)]):
        await until_caught_up(admin, ["listed"])
    assert await positions(admin, "listed") == await logged_positions(admin)


async def _write(platform) -> None:
    while True:
        await create_many(platform, 7)
        await asyncio.sleep(0.01)


def test_slots_never_change():
    assert [slot_of("acme"), slot_of("umbra"), slot_of("")] == [62, 136, 0]
