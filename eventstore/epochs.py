"""The histories of a log: read them, see that a promoted server gets a new one, and begin one after a restore."""

from collections.abc import Sequence
from typing import Any

import psycopg

from eventstore.position import Epoch, LogPosition

Connection = psycopg.AsyncConnection[Any]

_EPOCHS = "select epoch, fork_position from varve.log_epochs order by number"


async def read_epochs(connection: Connection) -> Sequence[Epoch]:
    """Return the epochs of the log, oldest first."""
    cursor = await connection.execute(_EPOCHS, prepare=True)
    return [Epoch(epoch, fork_position) for epoch, fork_position in await cursor.fetchall()]


async def check_epoch(connection: Connection) -> str:
    """Return the present epoch; on a promoted server or a copy that nobody has come to yet, begin a new one."""
    cursor = await connection.execute("select varve.check_epoch()", prepare=True)
    (epoch,) = await cursor.fetchone() or ("",)
    return str(epoch)


async def mark_restored(connection: Connection) -> LogPosition:
    """Begin a new epoch at the present head, as `varve_admin`; return where it begins.

    For a restore that changes neither the timeline nor the system identifier, such as a copied data directory.
    """
    cursor = await connection.execute("select epoch, fork_position from varve.mark_restored()")
    epoch, fork_position = await cursor.fetchone() or ("", 0)
    return LogPosition(epoch, fork_position)
