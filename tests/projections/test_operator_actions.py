"""Two operators act at the same moment, in each state: each action ends, and the projection is well afterwards.

A sample of the pairs runs by itself. With OPERATOR_PAIRS=all in the environment all of them are run.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from itertools import combinations_with_replacement

import pytest

from eventstore.batch_appender import open_batch_appender
from eventstore.event_voider import EventVoider
from projections.operations.operator_requests import OperatorRequests
from tests.builders import actors
from tests.builders.requests import create_entry
from tests.projections.engines import engine_of, until_caught_up
from tests.projections.operating import ACTIONS, ALLOWED, Cell, operated, wrong_answers
from varve.cli.log_access import open_log

PAIRS = list(combinations_with_replacement(ACTIONS, 2))
SAMPLE = 5
"""Pairs of each state, besides those of an action with itself that has something to do."""
_SECONDS = 120.0
_AT_ONCE = 6

Row = tuple[str, tuple[str, str]]


def sampled(state: str) -> list[Row]:
    if os.environ.get("OPERATOR_PAIRS") == "all":
        return [(state, pair) for pair in PAIRS]
    return [(state, pair) for pair in random.Random(state).sample(PAIRS, SAMPLE)]  # noqa: S311 - the same each time


def batches() -> list[list[Row]]:
    """Return the rows of the table that share a database: all of the sample, or those of one state."""
    rows = [sampled(state) for state in ALLOWED]
    return rows if os.environ.get("OPERATOR_PAIRS") == "all" else [[row for of_state in rows for row in of_state]]


@pytest.fixture
def names(monkeypatch) -> list[str]:
    """Have the platform know these projections alone, enough of them for any batch."""
    known = [f"operated_{number}" for number in range(1, len(PAIRS) + 1)]
    monkeypatch.setattr("varve.bootstrap.rebuildable", lambda: frozenset(known))
    return known


@pytest.fixture
async def voider(settings) -> AsyncIterator[EventVoider]:
    async with open_log(settings) as connection, open_batch_appender(settings.role_url("varve_writer")) as appender:
        yield EventVoider(connection, appender)


@pytest.mark.parametrize("rows", batches(), ids=lambda rows: "sample" if len(rows) < len(PAIRS) else rows[0][0])
async def test_two_actions_at_the_same_moment_end_and_leave_the_projection_well(
    names, settings, admin, client_of, voider, rows: list[Row]
):
    operator, editor = client_of(actors.OTTO_OPERATES), client_of(actors.ANN)
    (epoch,) = await (await admin.execute("select epoch from varve.log_epochs")).fetchone()
    for number in range(3):
        await create_entry(editor, name=f"layer {number}")
    projections = {name: operated(name) for name, _ in zip(names, rows, strict=False)}
    async with engine_of(settings, [*projections.values(), OperatorRequests(projections)]):
        await until_caught_up(admin, list(projections))
        turns = asyncio.Semaphore(_AT_ONCE)

        async def run(name: str, row: Row) -> list[str]:
            cell = Cell(projections[name], operator, editor, admin, voider, epoch)
            async with turns, asyncio.timeout(_SECONDS):
                return [f"{row}: {fault}" for fault in await faults_of(cell, *row)]

        found = await asyncio.gather(*map(run, projections, rows))
    faults = [fault for of_row in found for fault in of_row]
    assert not faults, "\n".join(faults)


async def faults_of(cell: Cell, state: str, pair: tuple[str, str]) -> list[str]:
    await cell.bring_to(state)
    first, second = await asyncio.gather(*map(cell.act, pair))
    faults = [wrong_answers(state, pair, (first, second))]
    in_log, accepted = await cell.requests_in_log(), cell.accepted
    faults.append(None if in_log == accepted else f"{in_log} requests in the log, and {accepted} were accepted")
    await cell.settle()
    faults.append(await cell.wrong_rows())
    return [fault for fault in faults if fault is not None]


@pytest.mark.parametrize(
    ("state", "pair", "accepted", "wrong"),
    [
        ("idle", ("cancel", "swap"), (True, False), "cancel has nothing to do"),
        ("idle", ("rebuild", "swap"), (False, False), "rebuild was refused"),
        ("idle", ("hold", "swap"), (True, True), None),
        ("held", ("swap", "swap"), (True, True), "both were accepted"),
        ("held", ("pause", "swap"), (True, False), "one was refused"),
        ("parked", ("skip", "skip"), (False, False), "both were refused"),
    ],
)
def test_the_table_finds_wrong_answers(state, pair, accepted, wrong):
    assert wrong_answers(state, pair, accepted) == wrong
