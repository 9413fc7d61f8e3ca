"""A worker whose network is lost: neither it nor the server is told so."""

import time

from pydantic import SecretStr

from benchmarks.takeovers.network import open_network
from tests.projections.counting import Listed, logged_positions, positions
from tests.projections.engines import engine_of, lanes, until, until_caught_up
from tests.projections.sending import create, create_many

_TAKEOVER_SECONDS = 5.0


async def test_its_lane_is_taken_over_in_time_and_it_writes_nothing_when_it_is_back(settings, platform, admin):
    async def has_lane() -> bool:
        (lane,) = await lanes(admin, "listed")
        return lane["owner"] == lost

    url = settings.required_database_url()
    async with open_network(url) as network:
        by_network = settings.model_copy(update={"database_url": SecretStr(network.url(url))})
        async with engine_of(by_network, [Listed()]) as lost:
            await create_many(platform, 10)
            await until_caught_up(admin, ["listed"])
            await until(has_lane, "the worker has the lane")
            async with engine_of(settings, [Listed()]) as other:
                await create(platform)
                network.lose()
                began = time.monotonic()
                await create_many(platform, 10)
                await until_caught_up(admin, ["listed"])
                assert time.monotonic() - began < _TAKEOVER_SECONDS
                network.mend()
                await create_many(platform, 10)
                await until_caught_up(admin, ["listed"])
                (lane,) = await lanes(admin, "listed")
                assert lane["owner"] == other
    assert await positions(admin, "listed") == await logged_positions(admin)
