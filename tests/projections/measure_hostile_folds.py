"""Measures how soon folds that hang, kill or fill their worker are parked, and how long others wait meanwhile.

    python -P -m tests.projections.measure_hostile_folds [--events 20] [--kinds leaves sleeps] [--save NAME]

It starts servers of its own and one projection worker under its supervisor, as `varve up` does, with a projection that
does what the names of entries say. For each kind one such event comes, and then so many in as many streams, each when
the one before it is parked; beside them a harmless one each half a second. The figures are the seconds from an event's
append until it is parked, and the longest time for which the projection beside it stood still behind the log.
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from pydantic import SecretStr

from benchmarks.record import circumstances, save
from eventstore.background import running_beside
from tests.fixtures.http import process_environment
from tests.projections.counting import Listed
from tests.projections.engines import lanes
from tests.projections.hostile import DEATHS, Hostile
from tests.projections.hostile_worker import PROGRAM
from tests.projections.sending import create
from varve.bootstrap import Platform, open_platform
from varve.embedded import DataDirectory, running_services
from varve.migrate import migrate
from varve.settings import Settings
from varve.up import ChildProcess

_PARKED_SECONDS = 60.0
_LATE_SECONDS = 10.0
_LIVE_SECONDS = 0.5
_LOOK_SECONDS = 0.05
_MOST_SECONDS = 300.0


class Beside:
    """Has the projection beside the hostile one have something to do, and notes for how long it stands still."""

    def __init__(self, platform: Platform, admin: psycopg.AsyncConnection[Any]) -> None:
        self._platform = platform
        self._admin = admin
        self.longest = 0.0

    async def live(self) -> None:
        while True:
            await create(self._platform, "harmless")
            await asyncio.sleep(_LIVE_SECONDS)

    async def watch(self) -> None:
        last, moved = -1, time.monotonic()
        while True:
            found = await lanes(self._admin, Listed.NAME)
            now = time.monotonic()
            if found and found[0]["position"] != last:
                last, moved = found[0]["position"], now
            self.longest = max(self.longest, now - moved)
            await asyncio.sleep(_LOOK_SECONDS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--kinds", nargs="*", default=sorted(DEATHS), choices=sorted(DEATHS))
    parser.add_argument("--save", metavar="NAME", help="keep the figures as benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    print(json.dumps(circumstances()), flush=True)
    with tempfile.TemporaryDirectory(prefix="varve-hostile-") as temporary:
        folder = Path(temporary)
        folder.chmod(0o711)  # as root the servers run as another user, who has to come through
        directory = DataDirectory.prepare(folder / "project" / ".varve", system_folder=folder / "system")
        with running_services(directory) as urls:
            settings = Settings(
                database_url=SecretStr(urls.admin_database_url),
                redis_url=SecretStr(urls.redis_url),
                secret_key=SecretStr("a secret key of servers that live for minutes"),
                data_directory=folder / "data",
                embedder="hashing",
            )
            figures = asyncio.run(_measure(settings, arguments.kinds, arguments.events))
    if arguments.save:
        command = " ".join(["tests.projections.measure_hostile_folds", *sys.argv[1:]])
        print(save(arguments.save, command, figures))
    sys.exit(not all(figure["is_reached"] for figure in figures))


async def _measure(settings: Settings, kinds: list[str], events: int) -> list[dict[str, Any]]:
    await migrate(settings)
    settings.data_directory.mkdir(parents=True)
    log_file = settings.data_directory / "worker.log"
    worker = ChildProcess("projections", (), process_environment(settings), log_file, PROGRAM)
    figures = []
    admin = await psycopg.AsyncConnection.connect(settings.required_database_url(), autocommit=True)
    async with admin, open_platform(settings) as platform, running_beside(worker.run()):
        await create(platform, "harmless")
        await _until(admin, "select count(*) = 2 and min(position) > 0 from varve.lanes where projection = any (%s)")
        for kind in kinds:
            for count in (1, events):
                figures.append(await _of_kind(platform, admin, kind, count))
                print(json.dumps(figures[-1]), flush=True)
    return figures


async def _of_kind(platform: Platform, admin: psycopg.AsyncConnection[Any], kind: str, count: int) -> dict[str, Any]:
    await admin.execute("delete from varve.parked")
    beside = Beside(platform, admin)
    seconds = []
    async with running_beside(beside.live(), beside.watch()):
        for number in range(1, count + 1):
            began = time.monotonic()
            await create(platform, kind)
            await _until(admin, f"select count(*) >= {number} from varve.parked where projection = any (%s)")
            seconds.append(round(time.monotonic() - began, 1))
        await asyncio.sleep(1)
    cursor = await admin.execute("select distinct error from varve.parked order by 1")
    errors = [error for (error,) in await cursor.fetchall()]
    return {
        "row": "hostile folds",
        "what": kind,
        "events": count,
        "parked_as": errors,
        "parked_seconds": seconds,
        "others_late_seconds": round(beside.longest, 1),
        "target": f"parked as {DEATHS[kind]} within {_PARKED_SECONDS:g} s, others at most {_LATE_SECONDS:g} s late",
        "is_reached": errors == [DEATHS[kind]] and max(seconds) <= _PARKED_SECONDS and beside.longest <= _LATE_SECONDS,
    }


async def _until(admin: psycopg.AsyncConnection[Any], question: str) -> None:
    async with asyncio.timeout(_MOST_SECONDS):
        while await (await admin.execute(question, ([Hostile.NAME, Listed.NAME],))).fetchone() != (True,):  # noqa: ASYNC110 - a database
            await asyncio.sleep(_LOOK_SECONDS)


if __name__ == "__main__":
    main()
