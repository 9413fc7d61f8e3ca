"""How soon a subscription in another process has an event in its hands after the append was answered."""

import asyncio
import json
import time
from typing import Any

from benchmarks.appends.lines import other_process
from benchmarks.appends.made_up import MadeUp
from benchmarks.appends.measured import Bench, Contender, Slice
from benchmarks.metrics import percentile
from eventstore.append import Appender, open_appender
from eventstore.background import running_beside
from eventstore.mapper import PydanticMapper
from eventstore.wake import WakeSender
from varve.bootstrap import event_types

_PER_SECOND = 500
_SETTLE_SECONDS = 1.0
_P50_MS, _P99_MS = 5, 25


async def waking(bench: Bench) -> list[dict[str, Any]]:
    """500 appends a second at even times, from domain events; the subscriber is a process of its own."""
    with bench.server.database() as settings:
        url = settings.role_url("varve_writer")
        waker = WakeSender(url)
        async with (
            running_beside(waker.run()),
            open_appender(url, PydanticMapper(event_types()), waker.wake) as appender,
            other_process("benchmarks.appends.subscriber_process", settings.role_url("varve_projector")) as subscriber,
        ):
            slices = []

            async def run(seconds: float) -> Slice:
                answered = await _append_evenly(appender, seconds)
                await asyncio.sleep(_SETTLE_SECONDS)
                seen = {int(key): at for key, at in json.loads(await subscriber.ask("")).items()}
                # It is 0 where the event was there before the answer was.
                slices.append(
                    Slice.of(seconds, [max(0.0, seen[position] - at) * 1000 for position, at in answered.items()])
                )
                return slices[-1]

            figures = await bench.measure("wake", [Contender("subscription after an answer", run)], [])
        del slices[0]  # of the warm-up
        return [*figures, _judged("p50_ms", slices, _P50_MS), _judged("p99_ms", slices, _P99_MS)]


async def _append_evenly(appender: Appender, seconds: float) -> dict[int, float]:
    """Return when each position was answered."""
    made_up = MadeUp()
    answered: dict[int, float] = {}

    async def append() -> None:
        appended = await appender.append(made_up.from_domain_event())
        answered[appended.position] = time.perf_counter()

    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for number in range(round(seconds * _PER_SECOND)):
            await asyncio.sleep(max(0.0, started + number / _PER_SECOND - time.perf_counter()))
            group.create_task(append())
    return answered


def _judged(of: str, slices: list[Slice], most: float) -> dict[str, Any]:
    measured = percentile([getattr(each, of) for each in slices], 50)
    return {
        "row": "wake",
        "what": "subscription after an answer",
        "of": of,
        "milliseconds": round(measured, 2),
        "target": f"≤ {most:g} ms",
        "is_reached": measured <= most,
    }
