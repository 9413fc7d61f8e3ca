"""How projections stand, for those who decide on requests about them: the write side before, the reactor after."""

from typing import Any
from uuid import UUID

from psycopg.rows import class_row

from domain.operations.projection import FoundEvent, FoundGeneration, ProjectionState
from eventstore.epochs import read_epochs
from eventstore.errors import ForeignEpoch, InvalidPosition
from eventstore.position import LogPosition, parse_position
from projections.definition import Connection

_GENERATIONS = """
select generation as number, status, purpose, live_since at time zone 'UTC' as live_since,
       case when paused_at is not null then coalesce(pause_reason, 'no reason was given') end as pause_reason
from varve.generations where projection = %(projection)s order by generation
"""
_COUNTS = """
select coalesce((select generation from varve.newest_generations where projection = %(projection)s), 0),
       (select count(*) from varve.parked p join varve.generations g using (projection, generation)
        where p.projection = %(projection)s and g.status in ('live', 'building'))
"""
_EVENT = """
select exists (select from varve.parked where projection = %(projection)s and position = %(position)s),
       exists (select from varve.parked p join varve.generations g using (projection, generation)
               where p.projection = %(projection)s and p.position = %(position)s
                 and g.status in ('live', 'building')),
       exists (select from varve.leases l join varve.generations g using (projection, generation)
               where l.projection = %(projection)s and l.needs_topic is not null and l.needs_position = %(position)s
                 and g.status in ('live', 'building')),
       exists (select from varve.skipped where projection = %(projection)s and position = %(position)s),
       varve.head()
"""
_AS_OF = "select exists (select from varve.generations where as_of = %s and status in ('building', 'kept'))"
_CARRIED_OUT = """
select coalesce(min(l.position), 0) from varve.lanes l join varve.generations g using (projection, generation)
where l.projection = 'operator_requests' and g.status = 'live'
"""


async def read_state(connection: Connection, projection: str, token: str | None = None) -> ProjectionState:
    """Return what the database has of a projection, and of its event at the position `token`.

    Several statements: whoever needs them to agree opens a transaction of one snapshot, or holds the lock.
    """
    parameters = {"projection": projection}
    cursor = connection.cursor(row_factory=class_row(FoundGeneration))
    await cursor.execute(_GENERATIONS, parameters)
    generations = tuple(await cursor.fetchall())
    newest, parked = await (await connection.execute(_COUNTS, parameters)).fetchone() or (0, 0)
    event = None if token is None else await _event(connection, projection, token)
    return ProjectionState(projection, generations, newest, parked, event)


async def is_built_as_of(connection: Connection, as_of: UUID) -> bool:
    """Whether something of this id is built, or being built."""
    return await _value(connection, _AS_OF, (as_of,)) is True


async def carried_out_to(connection: Connection) -> int:
    """Return the position up to which every request is carried out."""
    position: int = await _value(connection, _CARRIED_OUT)
    return position


async def _event(connection: Connection, projection: str, token: str) -> FoundEvent:
    epochs = await read_epochs(connection)
    try:
        position = parse_position(token, epochs)
    except (ForeignEpoch, InvalidPosition):
        return FoundEvent(token, is_of_this_log=False)
    parameters = {"projection": projection, "position": position}
    row = await (await connection.execute(_EVENT, parameters)).fetchone()
    is_parked, is_parked_where_run, is_standing, is_skipped, head = row or (False, False, False, False, 0)
    return FoundEvent(
        token,
        is_parked=is_parked,
        is_parked_where_run=is_parked_where_run,
        is_standing=is_standing,
        is_skipped=is_skipped,
        head=str(LogPosition(epochs[-1].epoch, head)) if position > head else None,
    )


async def _value(connection: Connection, sql: str, parameters: Any = ()) -> Any:
    (value,) = await (await connection.execute(sql, parameters)).fetchone() or (None,)
    return value
