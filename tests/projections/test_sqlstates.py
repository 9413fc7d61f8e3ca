"""Each meaning of a SQLSTATE that a fold meets: passing, of the event, the operator's to mend."""

import asyncio
from collections.abc import Sequence
from typing import Any, ClassVar

import pytest
from structlog.testing import capture_logs

from eventstore.fault_log import FAULTS
from eventstore.records import RecordedEvent
from projections.definition import Connection, Generation
from tests.projections.counting import Counted, counts
from tests.projections.engines import engine_of, lanes, until, until_caught_up
from tests.projections.sending import create, create_many
from varve.bootstrap import open_platform

OPERATORS = ("25006", "3F000", "42501", "42P01", "42883", "53100", "53200", "53400", "55000", "58030", "XX001")
OF_THE_EVENT = ("21000", "22012", "22P02", "23505", "54000", "57014", "P0001")
PASSING = ("40001", "40P01", "55P03", "57P05")


class Raising(Counted):
    """Has PostgreSQL raise a code at events of one name, so many times."""

    def __init__(self, state: str, times: float) -> None:
        self._state = state
        self.times = times

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: Any
    ) -> None:
        if self.times > 0 and any(getattr(each.event, "name", "") == "poison" for each in events):
            self.times -= 1
            await connection.execute(f"do $$ begin raise exception 'it is so' using errcode = '{self._state}'; end $$")
        await super().apply(connection, generation, events, prepared)


def raising(state: str, times: float = float("inf")) -> Raising:
    class Named(Raising):
        NAME: ClassVar[str] = f"raises_{state.lower()}"
        IS_PIPELINED: ClassVar[bool] = False

    return Named(state, times)


@pytest.fixture(autouse=True)
def forgotten():
    FAULTS.forget()


async def parked(admin) -> dict[str, str]:
    cursor = await admin.execute("select projection, error from varve.parked where error is not null")
    return dict(await cursor.fetchall())


async def test_what_an_operator_has_to_mend_stands_on_the_lane_and_parks_nothing(settings, admin):
    projections = [raising(state) for state in OPERATORS]
    names = [each.NAME for each in projections]

    async def are_shown() -> bool:
        return all(lane["failures"] > 1 for lane in await lanes(admin, *names))

    with capture_logs() as logs:
        async with open_platform(settings) as platform, engine_of(settings, projections):
            await until_caught_up(admin, names)
            await create(platform, "poison")
            await until(are_shown, "each lane shows why it stands")
            shown = {lane["projection"]: lane["error"] for lane in await lanes(admin, *names)}
            assert await parked(admin) == {}
            for each in projections:
                each.times = 0
            await until_caught_up(admin, names)
    assert all(f"({state})" in shown[f"raises_{state.lower()}"] for state in OPERATORS)
    for each in projections:
        assert await counts(admin, each.NAME) == {"acme": 1}
    assert {lane["error"] for lane in await lanes(admin, *names)} == {None}
    events = [line["event"] for line in logs]
    assert events.count("lane.failed") == len(OPERATORS), "one line for each kind"
    assert not any("database_lost" in event for event in events)
    of_storage = ("data_corrupted", "disk_full", "io_error", "read_only_sql_transaction")
    assert FAULTS.not_stored(60) == [f"postgresql: {kind}" for kind in of_storage]


async def test_what_is_of_the_event_is_parked_and_nothing_else(settings, admin):
    projections = [raising(state) for state in OF_THE_EVENT]
    names = [each.NAME for each in projections]
    async with open_platform(settings) as platform, engine_of(settings, projections):
        await until_caught_up(admin, names)
        await create(platform, "poison")
        await create_many(platform, 3)
        await until_caught_up(admin, names)
    assert {name: error[-6:-1] for name, error in (await parked(admin)).items()} == {
        each.NAME: state for each, state in zip(projections, OF_THE_EVENT, strict=True)
    }
    for each in projections:
        assert await counts(admin, each.NAME) == {"acme": 3}


async def test_a_heartbeat_that_can_t_be_written_is_no_lost_database_and_one_line(settings, admin):
    projection = raising("P0001", times=0)

    await admin.execute(
        "create function refuse() returns trigger language plpgsql as"
        " $$ begin raise exception 'it is so' using errcode = '53100'; end $$"
    )
    with capture_logs() as logs:
        async with open_platform(settings) as platform, engine_of(settings, [projection]):
            await until_caught_up(admin, [projection.NAME])
            await admin.execute("create trigger refuse before update on varve.workers execute function refuse()")
            await asyncio.sleep(4)
            await admin.execute("drop trigger refuse on varve.workers")
            await create(platform)
            await until_caught_up(admin, [projection.NAME])
    told = [(line["event"], line["fault"]) for line in logs if "fault" in line]
    assert told == [("engine.failed", "disk_full")]


@pytest.mark.parametrize("state", ["53200", "53400", "XX000"])
async def test_one_event_that_is_too_much_for_the_server_is_parked_where_others_pass(settings, admin, state):
    projection = raising(state)
    async with open_platform(settings) as platform, engine_of(settings, [projection]):
        await until_caught_up(admin, [projection.NAME])
        await create(platform, "poison")
        await create_many(platform, 3)
        await until_caught_up(admin, [projection.NAME])
    assert list(await parked(admin)) == [projection.NAME]
    assert await counts(admin, projection.NAME) == {"acme": 3}


async def test_what_passes_is_tried_again_and_parks_nothing(settings, admin):
    projections = [raising(state, times=2) for state in PASSING]
    names = [each.NAME for each in projections]
    with capture_logs() as logs:
        async with open_platform(settings) as platform, engine_of(settings, projections):
            await until_caught_up(admin, names)
            await create(platform, "poison")
            await until_caught_up(admin, names)
    assert await parked(admin) == {}
    for each in projections:
        assert await counts(admin, each.NAME) == {"acme": 1}
    lost = [line for line in logs if line["event"] == "lane.database_lost"]
    assert [line["fault"] for line in lost] == ["connection_lost"], "57P05 ends a session, and nothing else does"
