"""What is asked for at one time is asked for together, and nobody has to suffer for another."""

import asyncio
from collections.abc import Sequence

import pytest

from projections.gathering import Gathering


class Source:
    """Answers each with its square, when it is let; it can't answer a negative one."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.may_answer = asyncio.Event()
        self.gathering = Gathering(self._alone, self._together, most=4)

    async def _alone(self, wanted: int) -> int:
        return (await self._together([wanted]))[0]

    async def _together(self, wanted: Sequence[int]) -> Sequence[int]:
        self.asked.append(list(wanted))
        await self.may_answer.wait()
        if min(wanted) < 0:
            raise ValueError(f"{min(wanted)} is negative")
        return [each * each for each in wanted]

    def ask(self, *wanted: int, kind: str = "square") -> list[asyncio.Task[int]]:
        return [asyncio.create_task(self.gathering.ask(kind, each)) for each in wanted]


async def turns(count: int = 5) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_what_comes_alone_is_asked_for_at_once():
    source = Source()
    source.may_answer.set()
    for number in range(3):
        assert await source.gathering.ask("square", number) == number * number
    assert source.asked == [[0], [1], [2]]


async def test_what_comes_while_another_is_asked_for_is_asked_for_together_as_soon_as_that_is_answered():
    source = Source()
    tasks = source.ask(1)
    await turns()
    tasks += source.ask(2, 3, 4)
    await turns()
    assert source.asked == [[1]]
    source.may_answer.set()
    assert await asyncio.gather(*tasks) == [1, 4, 9, 16]
    assert source.asked == [[1], [2, 3, 4]]


async def test_no_more_than_the_most_are_asked_for_together():
    source = Source()
    tasks = source.ask(1, 2, 3, 4, 5, 6, 7)
    await turns()
    source.may_answer.set()
    assert await asyncio.gather(*tasks) == [1, 4, 9, 16, 25, 36, 49]
    assert source.asked == [[1], [2, 3, 4, 5], [6, 7]]


async def test_other_kinds_do_not_wait():
    source = Source()
    tasks = source.ask(1) + source.ask(2, kind="other")
    await turns()
    assert source.asked == [[1], [2]]
    source.may_answer.set()
    assert await asyncio.gather(*tasks) == [1, 4]


async def test_nobody_waits_long_for_a_question_that_is_not_answered():
    source = Source()
    first = source.ask(1)
    await turns()
    rest = source.ask(2, 3)
    async with asyncio.timeout(5):
        while len(source.asked) < 2:  # noqa: ASYNC110 - the gathering's own time limit is what is waited for
            await asyncio.sleep(0.005)
    assert source.asked == [[1], [2, 3]]
    source.may_answer.set()
    assert await asyncio.gather(*first, *rest) == [1, 4, 9]


async def test_each_learns_of_no_failure_but_its_own():
    source = Source()
    tasks = source.ask(1)
    await turns()
    tasks += source.ask(2, -3, 4)
    await turns()
    source.may_answer.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [answers[0], answers[1], answers[3]] == [1, 4, 16]
    assert isinstance(answers[2], ValueError)
    assert source.asked[:2] == [[1], [2, -3, 4]]
    assert sorted(source.asked[2:]) == [[-3], [2], [4]]


@pytest.mark.parametrize("given_up", [0, 1, 2, 3], ids=["asked alone", "the first", "the second", "the last"])
@pytest.mark.parametrize("is_asked", [False, True], ids=["while it waits", "while it is asked for"])
async def test_who_gives_up_leaves_the_others_their_answers(given_up, is_asked):
    source = Source()
    tasks = source.ask(1)
    await turns()
    tasks += source.ask(2, 3, 4)
    await turns()
    if is_asked:
        async with asyncio.timeout(5):
            while len(source.asked) < 2:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.005)
    tasks[given_up].cancel()
    await turns()
    source.may_answer.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[given_up], asyncio.CancelledError)
    assert [answer for number, answer in enumerate(answers) if number != given_up] == [
        square for number, square in enumerate([1, 4, 9, 16]) if number != given_up
    ]
    assert await source.gathering.ask("square", 5) == 25
