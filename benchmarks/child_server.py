"""Runs an HTTP server in a process of its own for as long as it is measured."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_START_SECONDS = 20.0


@asynccontextmanager
async def child_server(*arguments: str) -> AsyncIterator[str]:
    """Yield the URL of the server that Python runs with `arguments`; the port to listen at is added to them.

    Raises:
        TimeoutError: it does not listen.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(sys.executable, "-P", *arguments, str(port))
    try:
        async with asyncio.timeout(_START_SECONDS):
            await _until_listening(port)
        yield f"http://127.0.0.1:{port}"
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def _until_listening(port: int) -> None:
    while True:
        with suppress(ConnectionRefusedError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.close()
            return
        await asyncio.sleep(0.05)
