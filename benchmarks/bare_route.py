"""A bare FastAPI route in a process of its own: the most that this machine's Python and HTTP could answer."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from benchmarks.child_server import child_server

_SERVER = """
import sys, fastapi, uvicorn

app = fastapi.FastAPI()

@app.get("/")
async def bare() -> dict[str, bool]:
    return {"ok": True}

uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_config=None, access_log=False)
"""


@asynccontextmanager
async def bare_route() -> AsyncIterator[str]:
    """Yield the URL of a server that answers `GET /` and does nothing else."""
    async with child_server("-c", _SERVER) as url:
        yield url
