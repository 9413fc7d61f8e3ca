"""Eight processes append to shared and own streams, claims, counters and seats, under faults, while readers tail."""

from tests.eventstore.append_chaos import run

SECONDS = 8


async def test_nothing_is_lost_doubled_or_out_of_order_whatever_is_killed():
    result = await run(SECONDS, seed=4)
    assert {name: found for name, found in result["problems"].items() if found} == {}
    assert result["attempts"]["durable"] > 100
    assert len(result["faults"]) == 6
