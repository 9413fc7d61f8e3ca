"""What an engine asks of PostgreSQL when nothing happens: little, and none of it grows with the number of lanes."""

import asyncio

from eventstore.log import LogReader
from projections.engine import Engine
from tests.fixtures.engine import running
from tests.projections.counting import named
from tests.projections.engines import lanes, until
from varve.bootstrap import event_types
from varve.pools import open_pool

_LANES = 40
_SECONDS = 4.0


async def test_lanes_that_look_by_themselves_look_together(settings, admin, monkeypatch):
    monkeypatch.setattr("projections.engine._POLL_SECONDS", 1.0)
    projections = [named(f"counts_{number}", lanes=8) for number in range(_LANES // 8)]

    async def are_held():
        held = await lanes(admin, *(projection.NAME for projection in projections))
        return len(held) == _LANES and all(lane["owner"] for lane in held)

    async with open_pool(settings, "varve_projector", 8) as pool:
        engine = Engine(
            projections,
            pool=pool,
            reader=LogReader(event_types()),
            listen_url=settings.role_url("varve_projector"),
            owner="the only worker",
        )
        async with running(engine.run()):
            await until(are_held, "every lane is held")
            await asyncio.sleep(1)
            before = pool.get_stats()["requests_num"]
            await asyncio.sleep(_SECONDS)
            asked = pool.get_stats()["requests_num"] - before
    assert asked < _LANES  # a heartbeat each 0.75 s, and a reading a second that the lanes share
