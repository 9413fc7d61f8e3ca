"""Run the services of a folder until standard input ends: a supervisor that tests can kill, also as another user."""

import asyncio
import json
import sys
from dataclasses import asdict
from pathlib import Path

from varve.embedded import DataDirectory, EmbeddedServices, PostgresTuning


async def run(folder: Path, system_folder: Path) -> None:
    directory = DataDirectory.prepare(folder, system_folder=system_folder)
    services = EmbeddedServices(directory, tuning=PostgresTuning.for_throwaway_data())
    urls = await services.start()
    started = {"postgres": services.postgres_pid, "redis": services.redis_pid, "path": str(directory.path)}
    print("started " + json.dumps({**started, **asdict(urls)}), flush=True)  # noqa: T201 - the parent reads it
    await asyncio.to_thread(sys.stdin.read)
    await services.stop()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), Path(sys.argv[2])))
