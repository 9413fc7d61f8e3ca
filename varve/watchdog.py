"""Ends a process whose event loop hangs, in Python or in C, and prints where every thread stood."""

import asyncio
import faulthandler
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from eventstore.background import running_beside

_BEATS_PER_LIMIT = 5
_LONGEST_BEAT_SECONDS = 0.5


@asynccontextmanager
async def watched(seconds: float) -> AsyncIterator[None]:
    """Exit with code 1 when the running loop takes no turn for so many seconds, for as long as the block lasts.

    `faulthandler` watches on a thread of its own that needs no interpreter lock. A machine that was paused for longer
    costs a restart: the process can't tell the one from the other.
    """
    async with running_beside(_beat(seconds)):
        yield


async def _beat(seconds: float) -> None:
    try:
        while True:
            faulthandler.dump_traceback_later(seconds, exit=True)
            await asyncio.sleep(min(seconds / _BEATS_PER_LIMIT, _LONGEST_BEAT_SECONDS))
    finally:
        faulthandler.cancel_dump_traceback_later()
