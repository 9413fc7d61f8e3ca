"""Small things that the tests of the servers have in common: questions, bystanders, waits with an end."""

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import redis.asyncio
from psycopg.rows import scalar_row

from varve.embedded import ServiceUrls


async def ask(url: str, statement: str) -> object:
    """The first value that a statement answers, or None."""
    connecting = psycopg.AsyncConnection.connect(url, autocommit=True, row_factory=scalar_row)
    async with await connecting as connection:
        cursor = await connection.execute(statement.encode())
        return await cursor.fetchone() if cursor.description else None


async def remember(urls: ServiceUrls) -> None:
    """Store one row and one key."""
    await ask(urls.admin_database_url, "create table remembered as select 42 as answer")
    async with redis.asyncio.Redis.from_url(urls.redis_url) as client:
        await client.rpush("queue", "message")


async def recall(urls: ServiceUrls) -> tuple[object, object]:
    """What `remember` stored."""
    answer = await ask(urls.admin_database_url, "select answer from remembered")
    async with redis.asyncio.Redis.from_url(urls.redis_url) as client:
        return answer, await client.lrange("queue", 0, -1)


REMEMBERED = (42, [b"message"])


async def until(condition: Callable[[], bool], seconds: float = 15) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.02)


@contextmanager
def bystander(*arguments: str, user: int | None = None) -> "Iterator[subprocess.Popen[bytes]]":
    """A process that is none of Varve's business."""
    command = ["/bin/sh", "-c", "read line", *arguments]  # waits without a child of its own
    with subprocess.Popen(command, stdin=subprocess.PIPE, user=user) as process:
        try:
            yield process
        finally:
            process.kill()


def owner_of(pid: int | None) -> int:
    """The id of the user that a process runs as."""
    return Path(f"/proc/{pid}").stat().st_uid


def is_gone(pid: int | None) -> bool:
    """Whether nothing is left of a process."""
    return not Path(f"/proc/{pid}").exists()
