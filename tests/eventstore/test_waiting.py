"""The queue in front of the appender: bounded, fair between tenants, with imports behind people but not for ever."""

import asyncio

import pytest

from eventstore.errors import AppenderBusy
from eventstore.waiting import BatchLimits, Waiting, WaitingAppends
from tests.builders.prepared import prepared, row


@pytest.fixture
async def waiting():
    """Make an append that waits; its stream is its name."""

    def make(name: str = "s", tenant: str = "acme", size: int = 100, *, is_bulk: bool = False) -> Waiting:
        append = prepared(row(name), tenant=tenant, is_bulk=is_bulk)._replace(size=size)
        return Waiting(append, asyncio.get_running_loop().create_future(), deadline=0)

    return make


def names(batch: list[Waiting]) -> list[str]:
    return [next(name for kind, _, name in each.prepared.touched if kind == "stream") for each in batch]


async def test_appends_leave_in_the_order_in_which_they_came(waiting):
    queue = WaitingAppends(BatchLimits(appends=3))
    for number in range(5):
        queue.add(waiting(f"{number}"))
    assert [names(queue.take()) for _ in range(3)] == [["0", "1", "2"], ["3", "4"], []]


async def test_no_more_leave_than_are_asked_for(waiting):
    queue = WaitingAppends(BatchLimits())
    for number in range(3):
        queue.add(waiting(f"{number}"))
    queue.add(waiting("import", is_bulk=True))
    assert [names(queue.take(2)) for _ in range(3)] == [["0", "1"], ["2", "import"], []]


async def test_a_tenant_with_a_thousand_delays_another_by_no_batch(waiting):
    queue = WaitingAppends(BatchLimits())
    for number in range(1000):
        queue.add(waiting(f"{number}"))
    queue.add(waiting("the other's", tenant="umbra"))
    assert "the other's" in names(queue.take())


async def test_each_of_many_tenants_gets_its_turn_before_one_gets_a_second(waiting):
    queue = WaitingAppends(BatchLimits(appends=4))
    for tenant in ("a", "b", "c"):
        for number in range(3):
            queue.add(waiting(f"{tenant}{number}", tenant=tenant))
    assert [names(queue.take()) for _ in range(3)] == [["a0", "b0", "c0", "a1"], ["b1", "c1", "a2", "b2"], ["c2"]]


async def test_a_batch_ends_before_its_bytes_are_too_many_and_the_turn_is_kept(waiting):
    queue = WaitingAppends(BatchLimits(bytes=250))
    for tenant in ("a", "b", "c", "d"):
        queue.add(waiting(tenant, tenant=tenant))
    assert [names(queue.take()) for _ in range(2)] == [["a", "b"], ["c", "d"]]


async def test_one_that_is_larger_than_a_batch_travels_alone(waiting):
    queue = WaitingAppends(BatchLimits(bytes=250))
    queue.add(waiting("large", size=1000))
    queue.add(waiting("small"))
    assert [names(queue.take()) for _ in range(2)] == [["large"], ["small"]]


async def test_bulk_stands_behind_interactive(waiting):
    queue = WaitingAppends(BatchLimits(appends=4, bulk_appends=2))
    for number in range(5):
        queue.add(waiting(f"bulk{number}", is_bulk=True))
    queue.add(waiting("interactive"))
    assert names(queue.take()) == ["interactive", "bulk0", "bulk1"]
    assert names(queue.take()) == ["bulk2", "bulk3", "bulk4"]


@pytest.mark.parametrize("size", [100, 100_000], ids=["small", "larger than a batch"])
async def test_bulk_is_not_starved_by_interactive_appends_that_never_end(waiting, size):
    queue = WaitingAppends(BatchLimits(appends=4, bytes=1000))
    queue.add(waiting("bulk", size=size, is_bulk=True))
    taken = []
    for _ in range(10):
        for number in range(4):
            queue.add(waiting(f"{number}"))
        taken += names(queue.take())
    assert taken.count("bulk") == 1
    assert len(taken) >= 33


async def test_what_is_put_back_comes_first_and_in_its_order(waiting):
    queue = WaitingAppends(BatchLimits(appends=3))
    first = [waiting("1"), waiting("2")]
    queue.add(waiting("3"))
    queue.add_first(first)
    assert names(queue.take()) == ["1", "2", "3"]


async def test_more_that_is_put_back_than_a_batch_holds_keeps_its_order(waiting):
    queue = WaitingAppends(BatchLimits(appends=2))
    queue.add(waiting("6"))
    queue.add_first([waiting(f"{number}") for number in range(1, 6)])
    assert [names(queue.take()) for _ in range(3)] == [["1", "2"], ["3", "4"], ["5", "6"]]


async def test_whoever_no_longer_waits_is_left_out_and_takes_no_room(waiting):
    queue = WaitingAppends(BatchLimits(appends=2))
    gone = waiting("gone")
    for each in (gone, waiting("1"), waiting("2")):
        queue.add(each)
    gone.future.cancel()
    assert names(queue.take()) == ["1", "2"]
    assert len(queue) == 0


async def test_a_full_queue_is_busy_and_takes_appends_again_when_there_is_room(waiting):
    queue = WaitingAppends(BatchLimits(appends=2, waiting_appends=3))
    for number in range(3):
        queue.add(waiting(f"{number}"))
    with pytest.raises(AppenderBusy) as busy:
        queue.add(waiting("too many"))
    assert busy.value.retry_after_seconds == 1
    queue.take()
    queue.add(waiting("3"))
    assert names(queue.take()) == ["2", "3"]


async def test_a_queue_with_too_many_bytes_is_busy(waiting):
    queue = WaitingAppends(BatchLimits(waiting_bytes=250))
    queue.add(waiting("1", size=200))
    with pytest.raises(AppenderBusy):
        queue.add(waiting("2", size=51))
    queue.add(waiting("3", size=50))
    assert len(queue) == 2


async def test_draining_takes_everything_out(waiting):
    queue = WaitingAppends(BatchLimits(waiting_appends=3))
    for each in (waiting("1"), waiting("2", is_bulk=True)):
        queue.add(each)
    queue.add_first([waiting("0")])
    assert names(queue.drain()) == ["0", "1", "2"]
    assert (len(queue), queue.take()) == (0, [])
