"""Events that no running code knows: where lanes stand at one, and how operators have them go on.

A lane that meets such an event waits for newer code. The reactor that does what operators ask may stand at the same
event, before the request to skip it; so workers look for such requests in the log by themselves.
"""

from pydantic import ValidationError

from domain.operations.events import ParkedEventSkipped
from eventstore.applications import is_ours
from eventstore.epochs import read_epochs
from eventstore.errors import ForeignEpoch, InvalidPosition
from eventstore.position import LogPosition, parse_position
from projections.definition import Connection

LEFT_OUT = """(exists (select from varve.voided v where v.position = {position})
    or exists (select from varve.skipped s where s.projection = {projection} and s.position = {position}))"""
"""The SQL condition for an event that an operator took out: of the log, or of one projection."""
_IS_LEFT_OUT = f"select {LEFT_OUT.format(projection='%(projection)s::text', position='%(position)s::bigint')}"
# Older code that takes a lane clears the topic alone.
_IS_STANDING = "needs_topic is not null and needs_position is not null"
_STANDING = f"""
select projection, needs_position from varve.leases l where {_IS_STANDING}
  and not exists (select from varve.skipped s where s.projection = l.projection and s.position = l.needs_position)
"""
# A request comes after its event, and pairs of topic and position are walked by the index over both.
_REQUESTS = f"""
select position, data from varve.events e
where topic = %(topic)s and (topic, position) > (%(topic)s, %(after)s)
  and {is_ours("e.tags")}
  and not exists (select from varve.voided v where v.tenant = e.tenant and v.position = e.position)
order by topic, position
"""
_SKIP = """
insert into varve.skipped (projection, position, skipped_by)
values (%(projection)s, %(position)s, %(skipped_by)s) on conflict do nothing
"""
# Of all lanes the one that stands furthest back: where it goes on, the others may stand at a later one.
_STANDS_WHERE = f"""
select needs_topic, needs_version, needs_position, count(distinct projection),
       (select epoch from varve.log_epochs order by number desc limit 1)
from varve.leases l join varve.generations g using (projection, generation)
where {_IS_STANDING} and g.status in ('live', 'building')
group by 1, 2, 3 order by needs_position limit 1
"""


async def unknown_event(connection: Connection) -> str | None:
    """Return a sentence about the first event that lanes stand at because no running code knows it, None without one.

    It says nothing of any tenant. Any role may ask.
    """
    row = await (await connection.execute(_STANDS_WHERE, prepare=True)).fetchone()
    if row is None:
        return None
    topic, version, position, projections, epoch = row
    which = f"{topic} version {version} at {LogPosition(epoch, position)}"
    stand = "1 projection stands" if projections == 1 else f"{projections} projections stand"
    return f"{stand} at an event that no running code knows: {which}"


async def is_left_out(connection: Connection, projection: str, position: int) -> bool:
    """Return whether an operator voided the event or skipped it, however late: it can't be applied in any case."""
    row = await (await connection.execute(_IS_LEFT_OUT, {"projection": projection, "position": position})).fetchone()
    return row is not None and bool(row[0])


async def skip_as_requested(connection: Connection) -> None:
    """Skip the unknown events that lanes stand at and that operators asked to be skipped.

    Args:
        connection: as the projector.
    """
    cursor = await connection.execute(_STANDING, prepare=True)
    standing = set(await cursor.fetchall())
    if not standing:
        return
    after = min(position for _, position in standing)
    cursor = await connection.execute(_REQUESTS, {"topic": ParkedEventSkipped.TOPIC, "after": after})
    requests = await cursor.fetchall()
    if not requests:
        return
    epochs = await read_epochs(connection)
    for skipped_by, data in requests:
        try:
            request = ParkedEventSkipped.model_validate_json(data)
            position = parse_position(request.position, epochs)
        except (ForeignEpoch, InvalidPosition, ValidationError):  # of a part of the log that is gone, or newer code's
            continue
        if (request.projection, position) in standing:
            skip = {"projection": request.projection, "position": position, "skipped_by": skipped_by}
            await connection.execute(_SKIP, skip)
