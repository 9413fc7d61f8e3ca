"""A long computation that lets others have its processors."""

from types import SimpleNamespace

import pytest

from projections.courtesy import Courtesy


@pytest.fixture
def slept(monkeypatch):
    """For how long it rested, each time."""
    seconds = []

    async def sleep(delay: float) -> None:
        seconds.append(delay)

    monkeypatch.setattr("projections.courtesy.asyncio", SimpleNamespace(sleep=sleep))  # others sleep, too
    return seconds


def scheduled(monkeypatch, folder, waited: list[int]) -> None:
    """Have the kernel say that the thread has waited so many milliseconds in all, one after the other."""
    path = folder / "schedstat"

    class Schedstat:
        def read_bytes(self) -> bytes:
            path.write_text(f"900 {waited.pop(0) * 1_000_000} 7\n")
            return path.read_bytes()

    monkeypatch.setattr("projections.courtesy._SCHEDULED", Schedstat())


async def test_it_rests_as_long_as_it_had_to_wait_since_the_last_time(monkeypatch, tmp_path, slept):
    scheduled(monkeypatch, tmp_path, [100, 104, 104, 110])
    courtesy = Courtesy()
    for _ in range(3):
        await courtesy.rest(worked=0.003)
    assert slept == pytest.approx([0.004, 0.0, 0.006])


async def test_while_somebody_is_at_work_it_takes_a_quarter_of_the_time(monkeypatch, tmp_path, slept):
    scheduled(monkeypatch, tmp_path, [100, 104, 104])
    courtesy = Courtesy()
    courtesy.note_company()
    for _ in range(2):
        await courtesy.rest(worked=0.003)
    assert slept == pytest.approx([0.013, 0.009])


async def test_who_was_at_work_a_while_ago_is_not_waited_for(monkeypatch, tmp_path, slept):
    scheduled(monkeypatch, tmp_path, [100, 100])
    monkeypatch.setattr("projections.courtesy._COMPANY_SECONDS", 0.0)
    courtesy = Courtesy()
    courtesy.note_company()
    await courtesy.rest(worked=0.003)
    assert slept == [0.0]


async def test_where_the_kernel_says_nothing_it_gives_the_event_loop_a_turn(monkeypatch, tmp_path, slept):
    monkeypatch.setattr("projections.courtesy._SCHEDULED", tmp_path / "not there")
    await Courtesy().rest(worked=0.003)
    assert slept == [0.0]
