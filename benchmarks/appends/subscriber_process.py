"""A process that follows the log as a worker does, and says at the end when it had each position in its hands.

It is told the URL on its standard input, and a line more when it is to answer.
"""

import asyncio
import json
import sys
import time

from eventstore.log import LogReader
from eventstore.subscribe import Subscription, subscribe
from varve.bootstrap import event_types


def main() -> None:
    asyncio.run(_follow(sys.stdin.readline().strip()))


async def _follow(database_url: str) -> None:
    reader = LogReader(event_types())
    seen: dict[int, float] = {}
    async with subscribe(reader, database_url, listen_url=database_url) as subscription:
        following = asyncio.create_task(_note(subscription, seen))
        print(flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            print(json.dumps(seen), flush=True)
            seen.clear()
        following.cancel()


async def _note(subscription: Subscription, seen: dict[int, float]) -> None:
    async for window in subscription:
        now = time.perf_counter()
        seen |= {event.position: now for event in window.events}


if __name__ == "__main__":
    main()
