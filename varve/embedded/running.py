"""The services for callers that have no event loop, such as test fixtures."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from varve.embedded.data_directory import DataDirectory
from varve.embedded.postgres import PostgresTuning
from varve.embedded.services import EmbeddedServices
from varve.embedded.urls import ServiceUrls


@contextmanager
def running_services(
    data_directory: DataDirectory | Path, *, tuning: PostgresTuning | None = None
) -> Iterator[ServiceUrls]:
    """Run the services on a thread of their own for as long as the block lasts, whatever ends it.

    Raises:
        EmbeddedServicesError: As `EmbeddedServices.start`.
    """
    services = EmbeddedServices(data_directory, tuning=tuning)
    started: Future[ServiceUrls] = Future()
    ending: Future[None] = Future()
    thread = threading.Thread(target=_run, args=(services, started, ending), name="embedded services")
    thread.start()
    try:
        yield started.result()
    finally:
        ending.set_result(None)
        thread.join()


def _run(services: EmbeddedServices, started: "Future[ServiceUrls]", ending: "Future[None]") -> None:
    asyncio.run(_live(services, started, ending))


async def _live(services: EmbeddedServices, started: "Future[ServiceUrls]", ending: "Future[None]") -> None:
    starting = asyncio.create_task(services.start())
    ended = asyncio.wrap_future(ending)
    await asyncio.wait((starting, ended), return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
    try:
        started.set_result(await starting)
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001 - it is raised where the block begins
        started.set_exception(error)
        return
    await ended
    await services.stop()
