"""How projections are, as metrics: read once before each export, by processes that do not run them."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from opentelemetry.metrics import CallbackOptions, Meter, Observation

from domain.shared.access import system_actor
from eventstore.fault_log import FAULTS
from queries.operations.projections import ALARMS, LaneView, read_lanes
from queries.ports import ReadModels

_ACTOR = system_actor("varve")
"""Nothing that is read here is any tenant's, but a connection without one may read nothing."""


class Gauge(NamedTuple):
    """One number for each generation, made of its lanes."""

    name: str
    unit: str
    description: str
    measure: Callable[[Sequence[LaneView]], float]


def _progress(lanes: Sequence[LaneView]) -> float:
    slots = [lane.last_slot - lane.first_slot + 1 for lane in lanes]
    return sum(lane.progress * width for lane, width in zip(lanes, slots, strict=True)) / sum(slots)


_GAUGES = (
    Gauge(
        "varve.projection.lag",
        "{event}",
        "Events of the log that the last lane has not passed.",
        lambda lanes: max(lane.lag for lane in lanes),
    ),
    Gauge(
        "varve.projection.lag.duration",
        "s",
        "Age of the oldest event that a lane has not passed.",
        lambda lanes: max(lane.lag_seconds for lane in lanes),
    ),
    Gauge(
        "varve.projection.checkpoint.age",
        "s",
        "Since the lane that stands still longest came further; grows in a quiet log, too.",
        lambda lanes: max(lane.checkpoint_age for lane in lanes),
    ),
    Gauge(
        "varve.projection.rate",
        "{event}/s",
        "Events of the log that the slowest lane passes in a second.",
        lambda lanes: min(lane.rate for lane in lanes),
    ),
    Gauge(
        "varve.projection.dead_letters",
        "{event}",
        "Events that are parked, with those that wait behind them.",
        lambda lanes: lanes[0].parked,
    ),
    Gauge(
        "varve.projection.lanes.without_owner",
        "{lane}",
        "Lanes that no worker holds.",
        lambda lanes: sum(lane.owner is None for lane in lanes),
    ),
    Gauge(
        "varve.projection.progress",
        "1",
        "How much of the log is passed, 0 to 1: of a generation that is built, the rebuild's progress.",
        _progress,
    ),
)


class LaneGauges:
    """Keeps the lanes as they were at the last look; instruments show those, and nothing once a look has failed."""

    def __init__(self, meter: Meter, read_models: ReadModels, alarm_seconds: float) -> None:
        self._read_models = read_models
        self._alarm_seconds = alarm_seconds
        self._generations: Mapping[tuple[str, str], Sequence[LaneView]] = {}
        for gauge in _GAUGES:
            meter.create_observable_gauge(
                gauge.name, [partial(self._measured, gauge.measure)], gauge.unit, gauge.description
            )
        meter.create_observable_gauge(
            "varve.projection.alarms", [self._alarms], "{lane}", "Lanes with an alarm, by its kind."
        )

    async def run(self, seconds: float) -> None:
        """Look every so many seconds until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(seconds)

    async def look(self) -> None:
        """Read how lanes are: one statement."""
        try:
            lanes = await read_lanes(self._read_models, _ACTOR, "", self._alarm_seconds)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look may succeed
            FAULTS.note("gauges.not_read", error)
            lanes = []
        shown = sorted((lane for lane in lanes if lane.status != "retired"), key=_generation)
        self._generations = {key: list(group) for key, group in groupby(shown, key=_generation)}

    def _measured(
        self, measure: Callable[[Sequence[LaneView]], float], options: CallbackOptions
    ) -> Iterable[Observation]:
        for generation, lanes in self._generations.items():
            yield Observation(measure(lanes), _attributes(generation))

    def _alarms(self, options: CallbackOptions) -> Iterable[Observation]:
        """Yield zeros, too: an alarm that is over must be seen to be."""
        for generation, lanes in self._generations.items():
            for alarm in ALARMS:
                count = sum(lane.alarm == alarm for lane in lanes)
                yield Observation(count, {**_attributes(generation), "varve.alarm": alarm})


_generation = attrgetter("projection", "status")


def _attributes(generation: tuple[str, str]) -> dict[str, str]:
    projection, status = generation
    return {"varve.projection": projection, "varve.status": status}
