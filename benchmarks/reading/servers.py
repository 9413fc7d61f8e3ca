"""Two FastAPI servers that queries are compared with, each in a process of its own, served as the API is.

python -P -m benchmarks.reading.servers bytes FILE PORT
    answers every GET with the file's bytes
python -P -m benchmarks.reading.servers query URL TABLE PORT
    answers GET /{tenant}/{entry_id} with the row that one query finds
"""

import gc
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID

import psycopg
import uvicorn
import uvloop
from fastapi import FastAPI, HTTPException, Response
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool

from benchmarks.child_server import child_server
from queries.knowledge.entry_list import EntryView

_CONNECTIONS = 8


def same_bytes(body: bytes) -> FastAPI:
    """Return a server that does nothing but answer."""
    app = FastAPI()

    @app.get("/{path:path}")
    async def same(path: str) -> Response:
        return Response(body, media_type="application/json")

    return app


def one_query(url: str, table: str) -> FastAPI:
    """Return a server whose route is one psycopg query, with the pool and the response model of FastAPI's tutorials."""
    columns = ", ".join(EntryView.model_fields)
    statement = f"select {columns} from {table} where tenant = %s and entry_id = %s"

    @asynccontextmanager
    async def opened(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncConnectionPool(url, max_size=_CONNECTIONS, kwargs={"autocommit": True}) as pool:
            app.state.pool = pool
            yield

    app = FastAPI(lifespan=opened)

    @app.get("/{tenant}/{entry_id}")
    async def get(tenant: str, entry_id: UUID) -> EntryView:
        connection: psycopg.AsyncConnection
        async with app.state.pool.connection() as connection:
            cursor = connection.cursor(row_factory=dict_row)
            row = await (await cursor.execute(statement, (tenant, entry_id))).fetchone()
        if row is None:
            raise HTTPException(404)
        return EntryView.model_validate(row)

    return app


@asynccontextmanager
async def serving(*arguments: str) -> AsyncIterator[str]:
    """Yield the URL of one of the two, run with `arguments`."""
    async with child_server("-m", "benchmarks.reading.servers", *arguments) as url:
        yield url


def main() -> None:
    kind, *rest, port = sys.argv[1:]
    app = same_bytes(Path(rest[0]).read_bytes()) if kind == "bytes" else one_query(*rest)
    gc.freeze()
    gc.set_threshold(50_000)  # as the API
    config = uvicorn.Config(
        app, host="127.0.0.1", port=int(port), log_config=None, access_log=False, server_header=False
    )
    uvloop.run(uvicorn.Server(config).serve())


if __name__ == "__main__":
    main()
