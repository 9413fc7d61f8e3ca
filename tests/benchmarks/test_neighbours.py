"""A burner is as large as the load that it stands for, and a row is reached when its p95 is."""

import asyncio
import time

import pytest

from benchmarks.appends.lines import other_process
from benchmarks.neighbouring.cpu_time import cpu_time
from benchmarks.neighbouring.neighbour import Times
from benchmarks.neighbouring.rates import RATES
from benchmarks.neighbours import Pairs, figure_of


def _pairs(hostile, burner, *, unsettled=0):
    def times(milliseconds):
        return [{name: Times([each]) for name in RATES} for each in milliseconds]

    return Pairs(times(hostile), times(burner), unsettled=unsettled)


async def test_a_burner_uses_the_part_of_a_core_that_it_is_told():
    async with other_process("benchmarks.neighbouring.burner_process", "0.3"):
        began = time.monotonic()
        async with cpu_time() as counted, asyncio.timeout(30):
            while counted.seconds < 0.3:  # noqa: ASYNC110 - on a busy machine it gets less of the core
                await asyncio.sleep(0.05)
        cores = counted.seconds / (time.monotonic() - began)
    assert cores < 0.6


async def test_the_time_of_a_process_that_is_left_out_is_not_counted():
    async with (
        other_process("benchmarks.neighbouring.burner_process", "1") as burner,
        cpu_time({burner.pid}) as counted,
    ):
        await asyncio.sleep(0.5)
    assert counted.seconds == 0


@pytest.mark.parametrize(
    ("hostile", "burner", "is_reached"),
    [
        ([199, 201, 180], [100, 100, 100], True),
        ([201, 201, 180], [100, 100, 100], False),
        ([49, 49, 49], [1, 1, 1], True),
        ([51, 51, 51], [1, 1, 1], False),
    ],
)
def test_the_median_may_be_twice_the_burners_or_fifty_milliseconds(hostile, burner, is_reached):
    assert figure_of("texts", "command", _pairs(hostile, burner))["is_reached"] is is_reached


def test_a_search_may_always_take_three_hundred_milliseconds():
    assert figure_of("texts", "search", _pairs([299], [1]))["is_reached"]


def test_nothing_is_reached_where_a_load_was_not_worked_off():
    assert not figure_of("texts", "command", _pairs([1], [1], unsettled=1))["is_reached"]


def test_documents_and_waits_have_no_target():
    assert not any("target" in figure_of("texts", of, _pairs([9_000], [1])) for of in ("document", "wait"))
