"""How soon a command's row can be read after its answer, in a whole system at a steady rate of commands."""

import asyncio
import time
from statistics import median
from typing import Any

from benchmarks.appends.measured import Bench
from benchmarks.engines.commands import Editor, evenly
from benchmarks.engines.sizes import Sizes
from benchmarks.metrics import percentile
from benchmarks.row_latency import watching
from benchmarks.system import own_system
from projections.registry import rebuildable
from varve.bootstrap import Platform, open_platform
from varve.settings import Settings

_MODEL = "knowledge_entry_list"
_RATES = (1.0, 300.0)
_TARGETS = {50: 20.0, 99: 100.0}
"""By percentile, in milliseconds."""
_SETTLE_SECONDS = 300.0
_LOOK_SECONDS = 0.1


async def row_times(bench: Bench, sizes: Sizes) -> list[dict[str, Any]]:
    """One command a second, and three hundred; all of search is indexed meanwhile."""
    figures = []
    async with (
        own_system(Settings(embedder="hashing", log_level="warning")) as system,
        open_platform(system) as platform,
    ):
        editor = Editor(platform)
        await _rows(platform, editor, _RATES[-1], 1.0)  # plans, caches and connections
        for rate in _RATES:
            rounds = [await _rows(platform, editor, rate, sizes.seconds) for _ in range(bench.rounds)]
            figures += [_judged(rate, percent, rounds) for percent in _TARGETS]
    return figures


async def _rows(platform: Platform, editor: Editor, rate: float, seconds: float) -> list[float]:
    """Return how many milliseconds after its answer each row was there."""
    answered: list[tuple[float, int]] = []

    async def create() -> None:
        position = await editor.create()
        answered.append((time.perf_counter(), position))

    async with watching(_MODEL, platform.settings.role_url("varve_reader")) as watch:
        await evenly(create, per_second=rate, seconds=seconds)
        last = max(position for _, position in answered)
        async with asyncio.timeout(_SETTLE_SECONDS):
            await watch.until(last)
            milliseconds = watch.milliseconds(answered)
    await _settle(platform, last)
    return milliseconds


async def _settle(platform: Platform, position: int) -> None:
    """Wait until every read model has reached `position`, so that no rate pays for the one before it."""
    models = sorted(rebuildable())
    async with asyncio.timeout(_SETTLE_SECONDS):
        while (await platform.read_models.reached(models)).position < position:  # noqa: ASYNC110 - a database
            await asyncio.sleep(_LOOK_SECONDS)


def _judged(rate: float, percent: int, rounds: list[list[float]]) -> dict[str, Any]:
    found = median(percentile(each, percent) for each in rounds)
    return {
        "row": "rows",
        "what": f"from a command's answer to its row, {rate:g} commands/s: p{percent}",
        "ms": round(found, 2),
        "target": f"≤ {_TARGETS[percent]:g}",
        "is_reached": found <= _TARGETS[percent],
        "rows": sum(map(len, rounds)),
    }
