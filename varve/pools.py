"""Connection pools, one for each database role that a process needs, straight to the database or through PgBouncer."""

import select
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Self

import orjson
import psycopg
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from eventstore.fault_log import FAULTS
from eventstore.pipelines import PipelineConnection
from eventstore.sessions import SESSION_LIMITS, as_options
from varve.settings import DatabaseRole, Settings

# After this the pool waits for the next request instead of trying at ever longer intervals, and tries at once then, or
# again where somebody waits already.
_RECONNECT_SECONDS = 2.0
_REPLICA_WAIT_SECONDS = 1.0  # the primary answers then

_OF_ROLES: Mapping[DatabaseRole, Mapping[str, str]] = {
    # Rows of a book take longer than any request. A worker that is stopped meanwhile loses its sessions at the takeover
    "varve_projector": {"statement_timeout": "300s", "transaction_timeout": "300s"},
    # Every index begins with the tenant, but as long as a table is small, or nobody has counted its rows, the planner
    # would read those of all tenants. No compiling: where there is no index, a scan's cost is made up to be enormous.
    # What holds a read model for longer than this has its readers refused: see projections/held_models.py.
    "varve_reader": {"enable_seqscan": "off", "jit": "off", "lock_timeout": "2s"},
}


def session_limits(role: DatabaseRole) -> Mapping[str, str]:
    """Return the settings of a pool's sessions, by the names of PostgreSQL's settings."""
    return {**SESSION_LIMITS, **_OF_ROLES.get(role, {})}


def connecting(settings: Settings, role: DatabaseRole, *, replica: bool = False) -> tuple[str, Mapping[str, Any]]:
    """Return where `role` connects to, PgBouncer if there is one, and what else its sessions are opened with."""
    if replica:
        return settings.read_role_url(role), {"options": as_options(session_limits(role))}
    pooled_url = settings.pooled_role_url(role)
    if pooled_url is None:
        return settings.role_url(role), {"options": as_options(session_limits(role))}
    # PgBouncer refuses `options`. The same limits are settings of the roles, which `varve migrate` makes.
    return pooled_url, {} if settings.pooled_prepared_statements else {"prepare_threshold": None}


class _Pool(AsyncConnectionPool[Any]):
    """Tells, where it has no connection, why the server gives it none."""

    failure: psycopg.Error | None = None
    """Of the last attempt to connect."""

    async def getconn(self, timeout: float | None = None) -> Any:
        try:
            return await super().getconn(timeout)
        except PoolTimeout as error:
            raise PoolTimeout(str(error)) from self.failure


@asynccontextmanager
async def open_pool(
    settings: Settings, role: DatabaseRole, size: int, application_name: str = "varve", *, replica: bool = False
) -> AsyncIterator[AsyncConnectionPool[Any]]:
    """Open a pool of up to `size` connections in autocommit mode; it reconnects by itself.

    Nothing of a session outlives a transaction in it: through PgBouncer the next one may be another session.

    Args:
        settings: where the database is, and PgBouncer, if it is in between.
        role: who the connections are.
        size: the most connections.
        application_name: what PostgreSQL shows of them, 63 bytes at the most.
        replica: connect to the replica, which may be away; then the pool opens none until it is back.
    """

    class Connection(PipelineConnection):
        """Has the pool know why the last attempt to connect has failed, if it has."""

        @classmethod
        async def connect(cls, *arguments: Any, **options: Any) -> Self:
            try:
                connection = await super().connect(*arguments, **options)
            except psycopg.Error as error:
                pool.failure = error
                FAULTS.note("pool.not_connected", error, pool=pool.name)
                raise
            pool.failure = None
            return connection

    async def require_open(connection: Connection) -> None:
        if connection.is_in_pipeline:
            connection.pgconn.finish()  # else the pool would lend it again and again
            raise psycopg.OperationalError("a pipeline of its last user has not ended")
        try:
            _require_open(connection)
        except psycopg.OperationalError:
            await pool.check()  # what ended one has ended the others too, most likely
            raise

    url, arguments = connecting(settings, role, replica=replica)
    pool = _Pool(
        url,
        connection_class=Connection,
        min_size=1,
        max_size=size,
        timeout=_REPLICA_WAIT_SECONDS if replica else 10.0,
        reconnect_timeout=_RECONNECT_SECONDS,
        reconnect_failed=_try_on,
        kwargs={"autocommit": True, "application_name": application_name, **arguments},
        configure=_configure,
        check=require_open,
        open=False,
        name=f"{role} replica" if replica else role,
    )
    async with pool:
        yield pool


async def _try_on(pool: AsyncConnectionPool[Any]) -> None:
    """Have the pool try again for those that wait: else only the next request would, and they would wait to no end."""
    if pool.get_stats().get("requests_waiting"):
        await pool.check()


async def _configure(connection: psycopg.AsyncConnection[Any]) -> None:
    set_json_loads(orjson.loads, connection)


def _require_open(connection: psycopg.AsyncConnection[Any]) -> None:
    """Refuse a connection that its other end has closed since it was used, without a round trip.

    Raises:
        OperationalError: it is closed; the pool goes on to the next one.
    """
    waiting = select.poll()
    waiting.register(connection.fileno(), select.POLLIN)
    while waiting.poll(0):  # nothing was asked, so there is a notice, or the end, maybe after the reason for it
        connection.pgconn.consume_input()
