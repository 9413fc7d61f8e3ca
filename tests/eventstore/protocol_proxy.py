"""A proxy in front of PostgreSQL's Unix socket that holds the messages of an append back, or cuts the connection there.

It follows the frontend messages of PostgreSQL's protocol (version 3,
https://www.postgresql.org/docs/18/protocol-message-formats.html): a type of one byte, which the first message of a
connection does not have, and a length of four. A call of a prepared statement is Bind, Describe, Execute and Sync.
"""

import asyncio
import shutil
import struct
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict, make_conninfo

_SOCKET = ".s.PGSQL.5432"
_READ_BYTES = 65_536


@dataclass
class Trap:
    """Stops one call of a prepared statement at one of its messages.

    Attributes:
        message: the type of the message, or "answer" for what the server says after the whole call.
        passes: the part of the message that still reaches the server.
        skips: how many calls pass before.
        statement: the name of the prepared statement.
    """

    message: str
    passes: float = 0.0
    skips: int = 0
    statement: bytes = b"append"
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    _released: asyncio.Event = field(default_factory=asyncio.Event)
    _is_cut: bool = False
    _client: asyncio.StreamWriter | None = None

    def release(self) -> None:
        """Let go on what was held."""
        self._released.set()

    def cut(self) -> None:
        """Close both ends of the connection; what was held never arrives."""
        self._is_cut = True
        self._released.set()

    def lose(self) -> None:
        """Close the client's end; what is held is still on its way to the server."""
        if self._client is not None:
            self._client.close()

    async def hold(self, client: asyncio.StreamWriter) -> None:
        """Wait to be released.

        Raises:
            ConnectionAbortedError: it was cut.
        """
        self._client = client
        self.reached.set()
        await self._released.wait()
        if self._is_cut:
            raise ConnectionAbortedError


@dataclass
class Proxy:
    """Passes connections on; one that reaches the trap stays there, all others pass, or are refused."""

    folder: Path
    server: str
    refuses: bool = False
    _trap: Trap | None = None
    _connections: set[asyncio.Task[None]] = field(default_factory=set)

    def url(self, database_url: str) -> str:
        """The database of `database_url` behind this proxy."""
        return make_conninfo(database_url, host=str(self.folder))

    def set(self, trap: Trap) -> Trap:
        """Wait with `trap` for the next call of its statement."""
        self._trap = trap
        return trap

    async def serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        if self.refuses:
            answers.close()
            return
        said, server = await asyncio.open_unix_connection(self.server)
        answering = asyncio.Event()
        answering.set()
        tasks = (
            asyncio.create_task(self._ask(client, server, answers, answering)),
            asyncio.create_task(_answer(said, answers, answering)),
        )
        self._connections.update(tasks)
        try:
            # While a message is held, the connection outlives its client: the message is on its way.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            self._connections.difference_update(tasks)
            server.close()
            answers.close()

    def _sprung(self, bind: bytes) -> Trap | None:
        """Return the trap when this is the call that it waits for."""
        trap, (_, statement, _) = self._trap, bind[5:].split(b"\0", 2)
        if trap is None or statement != trap.statement:
            return None
        if trap.skips > 0:
            trap.skips -= 1
            return None
        self._trap = None
        return trap

    async def _ask(
        self,
        client: asyncio.StreamReader,
        server: asyncio.StreamWriter,
        answers: asyncio.StreamWriter,
        answering: asyncio.Event,
    ) -> None:
        held: Trap | None = None
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            server.write(await _startup(client))
            while True:
                kind, message = await _message(client)
                if kind == "B":
                    held = self._sprung(message) or held
                if held is not None and kind == "S" and held.message == "answer":
                    answering.clear()
                if held is not None and kind == held.message:
                    passed = int(len(message) * held.passes)
                    server.write(message[:passed])
                    await server.drain()
                    await held.hold(answers)
                    server.write(message[passed:])
                else:
                    server.write(message)
                await server.drain()
                if held is not None and kind == "S" and held.message == "answer":
                    await held.hold(answers)
                    answering.set()


@asynccontextmanager
async def open_proxy(database_url: str) -> AsyncIterator[Proxy]:
    """Run a proxy before the server of `database_url`."""
    folder = Path(tempfile.mkdtemp(prefix="varve-proxy-"))
    proxy = Proxy(folder, f"{conninfo_to_dict(database_url)['host']}/{_SOCKET}")
    server = await asyncio.start_unix_server(proxy.serve, folder / _SOCKET)
    try:
        yield proxy
    finally:
        server.close()
        for task in list(proxy._connections):
            task.cancel()
        shutil.rmtree(folder)


async def _startup(client: asyncio.StreamReader) -> bytes:
    length = await client.readexactly(4)
    return length + await client.readexactly(struct.unpack(">i", length)[0] - 4)


async def _message(client: asyncio.StreamReader) -> tuple[str, bytes]:
    head = await client.readexactly(5)
    return chr(head[0]), head + await client.readexactly(struct.unpack(">i", head[1:])[0] - 4)


async def _answer(server: asyncio.StreamReader, client: asyncio.StreamWriter, answering: asyncio.Event) -> None:
    with suppress(ConnectionError):
        while content := await server.read(_READ_BYTES):
            await answering.wait()
            client.write(content)
            await client.drain()
