"""The one connection through which a process appends: prepared calls in binary, nothing else."""

import asyncio
import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import psycopg
from psycopg import generators, pq
from psycopg.conninfo import make_conninfo
from psycopg.waiting import wait_async

from eventstore import wire
from eventstore.batch import PARAMETERS, BatchAnswer
from eventstore.sessions import SESSION_OPTIONS

_MOST_ANSWERED_AT_ONCE = 32_000
"""Characters; more could fill the buffers of a client that does not read, before the commit gives the lock back."""
_CALL = """
select epoch, head, recorded, case when length(answers::text) <= {most} then answers end,
       case when length(answers::text) > {most} then set_config('varve.answers', answers::text, false) <> '' end,
       set_config('transaction_timeout', '{milliseconds}', true)
from varve.{function}({parameters})
"""
_COMMIT_MILLISECONDS = 700
"""How long the server waits for the last message of a call, the one to commit, while it holds the log's lock."""
_ANSWERS = b"select current_setting('varve.answers')::jsonb, set_config('varve.answers', '', false)"
_END = b"""
select coalesce(bool_and(pg_terminate_backend(pid, 1000)), true) from pg_stat_activity
where usename = current_user and pid <> pg_backend_pid() and application_name = any ($1)
"""

_OPTIONS = f"{SESSION_OPTIONS} -c transaction_timeout=0"  # else the wait for the lock would count as well
_NETWORK = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
_WAIT_SECONDS = 0.1
_BINARY = pq.Format.BINARY
_PARAMETER_FORMATS = [_BINARY] * PARAMETERS
_EPOCH_OF_POSTGRESQL = datetime(2000, 1, 1, tzinfo=UTC)


class WriterSession:
    """A connection of the role `varve_writer`; used by one task at a time.

    `name` is its own among all sessions: by it another session can end it when the connection was lost.
    """

    def __init__(self, connection: psycopg.AsyncConnection[Any], name: str, call_seconds: float) -> None:
        self._connection = connection
        self._call_seconds = call_seconds
        self.name = name

    @classmethod
    async def open(cls, database_url: str, call_seconds: float = 8.0) -> "WriterSession":
        """Connect and prepare the calls, each of which may then take `call_seconds`.

        Raises:
            OperationalError: the database can't be reached.
        """
        name = f"varve appender {uuid4()}"
        conninfo = make_conninfo(database_url, options=_OPTIONS, application_name=name, **_NETWORK)
        connection = await psycopg.AsyncConnection.connect(conninfo, autocommit=True)
        session = cls(connection, name, call_seconds)
        try:
            for call, statement in _STATEMENTS.items():
                connection.pgconn.send_prepare(call, statement)
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
        return await self._answer()

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
        return await self._answer()

    async def end(self, names: Sequence[str]) -> bool:
        """End the sessions of these names, and return whether all of them are gone.

        What they were sent and had not begun by then will never be done; what they had committed can be seen.
        """
        parameter = wire.array(wire.TEXT, len(names), map(wire.text, names))
        self._connection.pgconn.send_query_prepared(b"end", [parameter], [_BINARY], result_format=_BINARY)
        return (await self._result()).get_value(0, 0) == b"\x01"

    @property
    def is_lost(self) -> bool:
        return self._connection.closed or self._connection.pgconn.transaction_status != pq.TransactionStatus.IDLE

    async def close(self) -> None:
        await self._connection.close()

    async def _answer(self) -> BatchAnswer:
        result = await self._result()
        epoch, head, recorded, answers, has_more, _ = (result.get_value(0, column) for column in range(6))
        if epoch is None or head is None or recorded is None:
            raise AssertionError("an answer has an epoch, a head and a time")
        if has_more is not None:
            answers = await self._more()
        [position] = struct.unpack(">q", head)
        [microseconds] = struct.unpack(">q", recorded)
        return BatchAnswer(
            epoch=epoch.decode(),
            head=position,
            recorded_at=_EPOCH_OF_POSTGRESQL + timedelta(microseconds=microseconds),
            refusals={} if answers is None else orjson.loads(answers[1:]),
        )

    async def _more(self) -> bytes | None:
        """Return the answers that were too long for the call itself, which is committed by now."""
        try:
            self._connection.pgconn.send_query_prepared(b"answers", [], result_format=_BINARY)
            return (await self._result()).get_value(0, 0)
        except psycopg.Error as error:  # not a refusal of the call, whose outcomes are now to be looked up
            await self.close()
            raise psycopg.OperationalError(str(error)) from error

    async def _result(self) -> pq.abc.PGresult:
        pgconn = self._connection.pgconn
        async with asyncio.timeout(self._call_seconds):
            # Not the connection's own wait: when it is cancelled, it would wait for the server for seconds.
            results: list[pq.abc.PGresult] = await wait_async(
                generators.execute(pgconn), pgconn.socket, interval=_WAIT_SECONDS
            )
        # The rows come before the commit: an error that follows them says that it failed.
        for result in results:
            if result.status not in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
                raise psycopg.errors.error_from_result(result)
        return results[0]


def _call(function: str, parameters: int) -> bytes:
    return _CALL.format(
        function=function,
        parameters=", ".join(f"${number}" for number in range(1, parameters + 1)),
        most=_MOST_ANSWERED_AT_ONCE,
        milliseconds=_COMMIT_MILLISECONDS,
    ).encode()


_STATEMENTS = {
    b"append": _call("append", PARAMETERS),
    b"settle": _call("settle", 4),
    b"answers": _ANSWERS,
    b"end": _END,
}
