"""One process of callers, told on its standard input what to do: the URL first, then one load after another."""

import asyncio
import json
import sys
import time

import uvloop

from benchmarks.appends.made_up import MadeUp
from eventstore.batch_appender import open_batch_appender
from varve.processes import collect_rarely


def main() -> None:
    collect_rarely()
    uvloop.run(_serve(sys.stdin.readline().strip()))


async def _serve(database_url: str) -> None:
    made_up = MadeUp()
    async with open_batch_appender(database_url) as batches:
        await batches.append(made_up.bare())
        print(flush=True)
        while line := await asyncio.to_thread(sys.stdin.readline):
            load = json.loads(line)
            milliseconds: list[float] = []

            async def caller(end: float, milliseconds: list[float] = milliseconds) -> None:
                while (sent := time.perf_counter()) < end:
                    await batches.append(made_up.bare())
                    milliseconds.append((time.perf_counter() - sent) * 1000)

            await asyncio.sleep(load["start"] - time.perf_counter())
            await asyncio.gather(*(caller(load["end"]) for _ in range(load["callers"])))
            print(json.dumps(milliseconds), flush=True)


if __name__ == "__main__":
    main()
