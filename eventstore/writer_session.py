"""The one connection through which a process appends: prepared calls in binary, nothing else."""

import asyncio
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import psycopg
from psycopg import generators, pq
from psycopg.conninfo import make_conninfo

from eventstore import wire
from eventstore.batch import PARAMETERS, BatchAnswer
from eventstore.sessions import SESSION_OPTIONS

_APPEND = b"select * from varve.append(%s)" % b", ".join(b"$%d" % number for number in range(1, PARAMETERS + 1))
_SETTLE = b"select * from varve.settle($1, $2, $3, $4)"

_OPTIONS = SESSION_OPTIONS
_NETWORK = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_CALL_SECONDS = 20.0
_BINARY = pq.Format.BINARY
_PARAMETER_FORMATS = [_BINARY] * PARAMETERS
_EPOCH_OF_POSTGRESQL = datetime(2000, 1, 1, tzinfo=UTC)


class WriterSession:
    """A connection of the role `varve_writer`; used by one task at a time."""

    def __init__(self, connection: psycopg.AsyncConnection[Any]) -> None:
        self._connection = connection

    @classmethod
    async def open(cls, database_url: str) -> "WriterSession":
        """Connect and prepare the calls.

        Raises:
            OperationalError: the database can't be reached.
        """
        conninfo = make_conninfo(database_url, options=_OPTIONS, application_name="varve appender", **_NETWORK)
        connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
        session = cls(connection)
        try:
            for name, statement in ((b"append", _APPEND), (b"settle", _SETTLE)):
                connection.pgconn.send_prepare(name, statement)
                await session._result()
        except BaseException:
            await session.close()
            raise
        return session

    async def append(self, parameters: Sequence[bytes | None]) -> BatchAnswer:
        """Call `varve.append`.

        Raises:
            psycopg.Error: the server refused the whole call, and stored nothing.
            OperationalError: the connection is lost (see `is_lost`): whether it was stored is unknown.
        """
        self._connection.pgconn.send_query_prepared(b"append", parameters, _PARAMETER_FORMATS, result_format=_BINARY)
        return _answer(await self._result())

    async def settle(self, appends: Sequence[tuple[str, UUID, bool]], after: int) -> BatchAnswer:
        """Call `varve.settle` for (tenant, id, whether to abandon it when it is not there).

        Args:
            appends: each once.
            after: a position that the log had before any of them was sent.
        """
        count = len(appends)
        parameters = [
            wire.array(wire.TEXT, count, [wire.text(tenant) for tenant, _, _ in appends]),
            wire.array(wire.UUIDS, count, [wire.uuid(append_id) for _, append_id, _ in appends]),
            wire.array(wire.BOOL, count, [wire.boolean(is_abandoned) for *_, is_abandoned in appends]),
            struct.pack(">q", after),
        ]
        self._connection.pgconn.send_query_prepared(b"settle", parameters, [_BINARY] * 4, result_format=_BINARY)
        return _answer(await self._result())

    @property
    def is_lost(self) -> bool:
        return self._connection.closed or self._connection.pgconn.transaction_status != pq.TransactionStatus.IDLE

    async def close(self) -> None:
        await self._connection.close()

    async def _result(self) -> pq.abc.PGresult:
        async with asyncio.timeout(_CALL_SECONDS):
            results = await self._connection.wait(generators.execute(self._connection.pgconn))
        result: pq.abc.PGresult = results[0]
        if result.status not in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
            raise psycopg.errors.error_from_result(result)
        return result


def _answer(result: pq.abc.PGresult) -> BatchAnswer:
    epoch, head, recorded, answers = (result.get_value(0, column) for column in range(4))
    if epoch is None or head is None or recorded is None:
        raise AssertionError("an answer has an epoch, a head and a time")
    [position] = struct.unpack(">q", head)
    [microseconds] = struct.unpack(">q", recorded)
    return BatchAnswer(
        epoch=epoch.decode(),
        head=position,
        recorded_at=_EPOCH_OF_POSTGRESQL + timedelta(microseconds=microseconds),
        refusals={} if answers is None else orjson.loads(answers[1:]),
    )
