"""A bare FastAPI route in a process of its own: the most that this machine's Python and HTTP could answer."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

_SERVER = """
import sys, fastapi, uvicorn

app = fastapi.FastAPI()

@app.get("/")
async def bare() -> dict[str, bool]:
    return {"ok": True}

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
"""
_START_SECONDS = 20.0


@asynccontextmanager
async def bare_route() -> AsyncIterator[str]:
    """Yield the URL of a server that answers `GET /` and does nothing else."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    process = await asyncio.create_subprocess_exec(sys.executable, "-P", "-c", _SERVER, str(port))
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
