"""A long computation that lets others have its processors."""

from types import SimpleNamespace

import pytest

from projections.courtesy import Courtesy


class Clock:
    def __init__(self) -> None:
        self.now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr("projections.courtesy.time", clock)
    return clock


@pytest.fixture
def slept(monkeypatch, clock):
    """For how long it rested, each time."""
    seconds = []

    async def sleep(delay: float) -> None:
        seconds.append(delay)
        clock.now += delay

    monkeypatch.setattr("projections.courtesy.asyncio", SimpleNamespace(sleep=sleep))  # others sleep, too
    return seconds


async def work_and_rest(courtesy: Courtesy, clock: Clock) -> None:
    clock.now += 0.003
    await courtesy.rest()


def scheduled(monkeypatch, folder, waited: list[int]) -> None:
    """Have the kernel say that the thread has waited so many milliseconds in all, one after the other."""
    path = folder / "schedstat"

    class Schedstat:
        def read_bytes(self) -> bytes:
            path.write_text(f"900 {waited.pop(0) * 1_000_000} 7\n")
            return path.read_bytes()

    monkeypatch.setattr("projections.courtesy._SCHEDULED", Schedstat())


async def test_it_rests_as_long_as_it_had_to_wait_since_the_last_time(monkeypatch, tmp_path, clock, slept):
    scheduled(monkeypatch, tmp_path, [100, 104, 104, 110])
    courtesy = Courtesy()
    for _ in range(3):
        await work_and_rest(courtesy, clock)
    assert slept == pytest.approx([0.004, 0.0, 0.006])


async def test_while_somebody_is_at_work_it_takes_a_quarter_of_the_time(monkeypatch, tmp_path, clock, slept):
    scheduled(monkeypatch, tmp_path, [100, 104, 104])
    courtesy = Courtesy()
    courtesy.note_company()
    for _ in range(2):
        await work_and_rest(courtesy, clock)
    assert slept == pytest.approx([0.013, 0.009])
    assert courtesy.worked == pytest.approx(0.006), "rests are no work"


async def test_who_was_at_work_a_while_ago_is_not_waited_for(monkeypatch, tmp_path, clock, slept):
    scheduled(monkeypatch, tmp_path, [100, 100])
    monkeypatch.setattr("projections.courtesy._COMPANY_SECONDS", 0.0)
    courtesy = Courtesy()
    courtesy.note_company()
    await work_and_rest(courtesy, clock)
    assert slept == [0.0]


async def test_where_the_kernel_says_nothing_it_gives_the_event_loop_a_turn(monkeypatch, tmp_path, clock, slept):
    monkeypatch.setattr("projections.courtesy._SCHEDULED", tmp_path / "not there")
    await work_and_rest(Courtesy(), clock)
    assert slept == [0.0]


async def test_what_its_helpers_work_and_wait_counts(monkeypatch, tmp_path, clock, slept):
    scheduled(monkeypatch, tmp_path, [100, 100, 100])
    monkeypatch.setattr("projections.courtesy._PROCESSES", tmp_path)
    (tmp_path / "7").mkdir()
    helper = tmp_path / "7" / "schedstat"
    helper.write_text("50000000 20000000 3")
    courtesy = Courtesy(lambda: [7])
    courtesy.note_company()
    helper.write_text("52000000 25000000 3")
    await work_and_rest(courtesy, clock)
    helper.unlink()  # it has ended
    await work_and_rest(courtesy, clock)
    assert slept == pytest.approx([0.005 + 3 * 0.005, 3 * 0.003])
    assert courtesy.worked == pytest.approx(0.008)
