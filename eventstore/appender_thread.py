"""Lets threads append: an appender on an event loop in a thread of its own."""

import threading
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from anyio.from_thread import BlockingPortal, start_blocking_portal

from eventstore.background import running_beside
from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.prepare import PreparedAppend
from eventstore.records import Appended
from eventstore.wake import WakeSender


class AppenderThread:
    """Folds the appends of many threads into batches, as `BatchAppender` does for tasks; starts when first used."""

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url
        self._starting = threading.Lock()
        self._stack = ExitStack()
        self._running: tuple[BlockingPortal, BatchAppender] | None = None

    def append(self, prepared: PreparedAppend) -> Appended:
        """Store `prepared`; errors are those of `BatchAppender.append`."""
        portal, appender = self._start()
        return portal.call(appender.append, prepared)

    def close(self) -> None:
        """Stop; appends that are waiting are told so. Used again, it starts again."""
        with self._starting:
            self._running = None
            self._stack.close()

    def _start(self) -> tuple[BlockingPortal, BatchAppender]:
        with self._starting:
            if self._running is None:
                portal = self._stack.enter_context(start_blocking_portal(name="appender"))
                appender = self._stack.enter_context(portal.wrap_async_context_manager(_serving(self._database_url)))
                self._running = (portal, appender)
            return self._running


@asynccontextmanager
async def _serving(database_url: str) -> AsyncIterator[BatchAppender]:
    waker = WakeSender(database_url)
    async with running_beside(waker.run()), open_batch_appender(database_url, waker.wake) as appender:
        yield appender
