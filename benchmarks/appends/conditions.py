"""What a condition costs: the same appends with it and without."""

from typing import Any

from benchmarks.appends.made_up import MadeUp
from benchmarks.appends.measured import Bench, Target
from benchmarks.appends.throughput import appending
from eventstore.batch_appender import open_batch_appender
from eventstore.records import Boundary, BoundaryItem, Counter
from eventstore.rows import Conditions

_CALLERS = 32
_COURSES = 8
_LIMIT = 2**50


async def boundary(bench: Bench) -> list[dict[str, Any]]:
    """A dynamic consistency boundary of two tags: one that many callers share, and one of the caller's own.

    Each caller has read up to its last append, so that what others appended since is looked at under the lock.
    """
    made_up = MadeUp()
    read_to = [0] * _CALLERS
    with bench.server.database() as settings:
        async with open_batch_appender(settings.role_url("varve_writer")) as batches:

            async def conditional(caller: int) -> None:
                tags = _tags(caller)
                conditions = Conditions(boundary=Boundary((BoundaryItem(tags=tags),), after=read_to[caller]))
                read_to[caller] = (await batches.append(made_up.bare(tags=tags, conditions=conditions))).position

            async def unconditional(caller: int) -> None:
                read_to[caller] = (await batches.append(made_up.bare(tags=_tags(caller)))).position

            contenders = [
                appending("tagged", unconditional, callers=_CALLERS),
                appending("tagged, with a boundary", conditional, callers=_CALLERS),
            ]
            targets = [Target("tagged, with a boundary", "tagged", "≥", 0.8)]
            return await bench.measure("boundary", contenders, targets)


async def counter(bench: Bench) -> list[dict[str, Any]]:
    """A counter of the tenant that every append raises."""
    made_up = MadeUp()
    conditions = Conditions(counters=(Counter("storage", 1, _LIMIT),))
    with bench.server.database() as settings:
        async with open_batch_appender(settings.role_url("varve_writer")) as batches:
            contenders = [
                appending("bare", lambda _: batches.append(made_up.bare()), callers=_CALLERS),
                appending(
                    "bare, with a counter",
                    lambda _: batches.append(made_up.bare(conditions=conditions)),
                    callers=_CALLERS,
                ),
            ]
            targets = [Target("bare, with a counter", "bare", "≥", 0.8)]
            return await bench.measure("counter", contenders, targets)


def _tags(caller: int) -> tuple[str, str]:
    return f"course:{caller % _COURSES}", f"student:{caller}"
