"""The way to a PostgreSQL server, which can be lost: nothing arrives any more, and nobody is told so."""

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit, urlunsplit

from eventstore.background import end

_SOCKET = ".s.PGSQL.5432"
_READ_BYTES = 65_536


@dataclass
class Network:
    """Passes connections on to a server's Unix socket, until it is lost."""

    folder: Path
    server: Path
    _works: asyncio.Event = field(default_factory=asyncio.Event)
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, database_url: str) -> str:
        """Return the URL of the database by way of this network."""
        parts = urlsplit(database_url)
        query = parse_qs(parts.query) | {"host": [str(self.folder)]}
        return urlunsplit(parts._replace(query=urlencode(query, doseq=True)))

    def lose(self) -> None:
        """Let nothing through any more, in either direction; both ends keep what they believe is a connection."""
        self._works.clear()

    def mend(self) -> None:
        """Let everything through; what was sent meanwhile arrives now."""
        self._works.set()

    async def connect(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        """Pass one connection on, until either end closes it."""
        await self._works.wait()
        said, server = await asyncio.open_unix_connection(self.server)
        ways = {asyncio.create_task(self._pass(client, server)), asyncio.create_task(self._pass(said, answers))}
        self._connections |= ways
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            await end(*ways)
            self._connections -= ways
            server.close()
            answers.close()

    async def _pass(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while content := await source.read(_READ_BYTES):
                await self._works.wait()
                target.write(content)
                await target.drain()

    async def close(self) -> None:
        await end(*self._connections)


@asynccontextmanager
async def open_network(database_url: str) -> AsyncIterator[Network]:
    """Open a way to the server of `database_url`, which listens on a Unix socket."""
    (server_folder,) = parse_qs(urlsplit(database_url).query)["host"]
    folder = Path(tempfile.mkdtemp(prefix="varve-network-"))
    network = Network(folder, Path(server_folder, _SOCKET))
    network.mend()
    server = await asyncio.start_unix_server(network.connect, folder / _SOCKET)
    try:
        yield network
    finally:
        server.close()
        await network.close()
        shutil.rmtree(folder)
