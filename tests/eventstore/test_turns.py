"""One long computation at a time goes on in a turn of the event loop, whatever their number."""

import asyncio
import gc
import time
import weakref

import pytest

from eventstore.turns import Turn, made_in_turns, run_in_turns

LONG = 0.003
"""Seconds of a step: more than a slice takes."""


def burn(seconds=LONG):
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


async def compute(steps, done):
    turn = Turn()
    for number in range(steps):
        burn()
        done.append(number)
        await turn.pause()


async def test_a_quick_task_waits_for_one_step_in_each_turn_however_many_compute():
    done = []
    computing = [asyncio.create_task(compute(20, done)) for _ in range(10)]
    await asyncio.sleep(0)  # the first steps are taken at once
    most = 0
    for _ in range(50):
        before = len(done)
        await asyncio.sleep(0)
        most = max(most, len(done) - before)
    await asyncio.gather(*computing)
    assert most == 1


async def test_all_take_turns_in_order():
    order = []

    async def compute_as(name):
        turn = Turn()
        for _ in range(3):
            burn()
            order.append(name)
            await turn.pause()

    await asyncio.gather(*(compute_as(name) for name in "abc"))
    assert order == list("abcabcabc")


async def test_one_that_is_cancelled_while_it_waits_holds_up_no_other():
    done = []
    first, second, third = (asyncio.create_task(compute(5, done)) for _ in range(3))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.gather(first, third)
    with pytest.raises(asyncio.CancelledError):
        await second
    assert len(done) == 11


async def test_steps_end_with_their_result_or_their_exception():
    def steps(result):
        for _ in range(5):
            burn()
            yield
        if result is None:
            raise ValueError("no result")
        return result

    assert await run_in_turns(steps(7)) == 7
    with pytest.raises(ValueError, match="no result"):
        await run_in_turns(steps(None))


async def test_what_is_made_of_each_item_is_returned_in_order():
    def made(number):
        burn()
        return -number

    assert await made_in_turns(made, range(5)) == [0, -1, -2, -3, -4]


def test_a_loop_that_is_closed_is_kept_by_no_queue():
    loop = asyncio.new_event_loop()
    loop.run_until_complete(compute(3, []))
    loop.close()
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None


def test_each_loop_has_turns_of_its_own():
    for _ in range(2):
        done = []
        asyncio.run(compute(3, done))
        assert done == [0, 1, 2]
