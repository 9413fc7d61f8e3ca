"""PostgreSQL and Redis on one data directory, from the lock to the clean end."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

from varve.embedded.account import DEFAULT_RUN_AS
from varve.embedded.binaries import find_postgres, find_redis
from varve.embedded.data_directory import DataDirectory
from varve.embedded.directory_lock import DirectoryLock
from varve.embedded.postgres import Postgres, PostgresTuning
from varve.embedded.redis_server import RedisServer
from varve.embedded.supervision import Supervisor
from varve.embedded.urls import ServiceUrls, publish_urls, withdraw_urls


class EmbeddedServices:
    """Locks a data directory, prepares it, and runs its servers until it is stopped.

    A server that dies is started again. All methods are to be called on one event loop, and its thread must live as
    long as the servers should: the kernel stops them when it ends, so that not even a killed process leaves any.
    """

    def __init__(
        self,
        data_directory: DataDirectory | Path,
        *,
        run_as: str = DEFAULT_RUN_AS,
        tuning: PostgresTuning | None = None,
        start_timeout: float = 120.0,
    ) -> None:
        """Nothing happens yet.

        Args:
            data_directory: A folder, usually `.varve`, or one that was prepared already.
            run_as: As root, the system user to run the servers as; for a `Path` only.
            tuning: PostgreSQL's settings; None for safe defaults.
            start_timeout: Seconds that each server may take until it answers; recovery after a crash counts.
        """
        self._given = data_directory
        self._run_as = run_as
        self._tuning = tuning or PostgresTuning()
        self._start_timeout = start_timeout
        self._lock: DirectoryLock | None = None
        self._directory: DataDirectory | None = None
        self._socket_folder: Path | None = None
        self._postgres: Supervisor | None = None
        self._redis: Supervisor | None = None

    @property
    def postgres_pid(self) -> int | None:
        """PostgreSQL's process id; None when it isn't running."""
        return self._postgres.pid if self._postgres else None

    @property
    def redis_pid(self) -> int | None:
        """Redis's process id; None when it isn't running."""
        return self._redis.pid if self._redis else None

    async def start(self) -> ServiceUrls:
        """Start both servers and return when they answer; stop what was started when that fails or is cancelled.

        Raises:
            AlreadyRunning: Another process runs services on this directory; nothing was changed.
            EmbeddedServicesError: One of the others of its family says what is in the way.
        """
        try:
            return await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Stop both servers cleanly and give the directory back; harmless when nothing runs."""
        try:
            if self._directory is not None:
                withdraw_urls(self._directory.path)
            await asyncio.gather(*(server.stop() for server in (self._redis, self._postgres) if server is not None))
            self._remove_socket_folder()
        finally:
            self._redis = self._postgres = self._directory = None
            if self._lock is not None:
                self._lock.release()
                self._lock = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _start(self) -> ServiceUrls:
        directory = self._given
        if isinstance(directory, Path):
            directory = await asyncio.to_thread(DataDirectory.prepare, directory, run_as=self._run_as)
        lock = DirectoryLock(directory.lock_file)
        lock.acquire()
        self._lock = lock
        self._directory = directory
        programs = await asyncio.to_thread(find_postgres, directory)
        redis_program = await asyncio.to_thread(find_redis, directory)
        self._socket_folder = directory.socket_folder()
        postgres = Postgres(directory, programs, socket_folder=self._socket_folder, tuning=self._tuning)
        redis = RedisServer(directory, redis_program, socket_folder=self._socket_folder)
        self._postgres = Supervisor(postgres, start_timeout=self._start_timeout)
        self._redis = Supervisor(redis, start_timeout=self._start_timeout)
        await self._redis.start()
        await self._postgres.start()
        urls = ServiceUrls(admin_database_url=postgres.url(), redis_url=redis.url())
        publish_urls(directory.path, urls)
        return urls

    def _remove_socket_folder(self) -> None:
        if self._socket_folder is None or self._directory is None:
            return
        if self._socket_folder.parent != self._directory.path:
            for left in self._socket_folder.iterdir():
                left.unlink()
            self._socket_folder.rmdir()
        self._socket_folder = None
