"""Measures the turns of the event loop: how long each callback holds it, in CPU time of its thread."""

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class TurnMeter:
    """The longest turn so far, in seconds of CPU."""

    longest: float = 0.0

    def again(self) -> None:
        """Forget the turns so far."""
        self.longest = 0.0


@contextmanager
def collected_rarely() -> Iterator[None]:
    """Look for garbage as rarely as the API's process does: a test's process has many more objects to go through."""
    thresholds = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


@contextmanager
def measured_turns() -> Iterator[TurnMeter]:
    """Measure every turn of the running loop."""
    meter = TurnMeter()
    run = asyncio.events.Handle._run

    def timed(handle: Any) -> None:
        started = time.thread_time()
        run(handle)
        meter.longest = max(meter.longest, time.thread_time() - started)

    asyncio.events.Handle._run = timed  # type: ignore[method-assign]
    try:
        with collected_rarely():
            yield meter
    finally:
        asyncio.events.Handle._run = run  # type: ignore[method-assign]
