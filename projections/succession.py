"""Decides whose definition of a projection is built, when workers of several versions or settings run."""

from collections.abc import Collection
from enum import StrEnum

from projections.definition import Connection, Projection

_ABSENT_SECONDS = 10
"""After these a worker that says nothing is gone; so long after its start the server has not heard of all of them."""

_TURNS = """
select k.projection, case
    when not coalesce(bool_or(g.status = 'live'), false) then 'first'
    when bool_or(g.status <> 'retired' and g.definition = k.definition) then 'served'
    when split_part(k.definition, '.', 1)::integer > max(g.newest_version) then 'next'
    when not bool_or(runs.is_so)
         and pg_postmaster_start_time() < clock_timestamp() - make_interval(secs => %(absent)s) then 'next'
    else 'waiting' end
from unnest(%(projections)s::text[], %(definitions)s::text[]) as k (projection, definition)
left join varve.generations g on g.projection = k.projection and g.purpose in ('swap', 'hold')
left join lateral (
    select g.status <> 'retired' and exists (
        select from varve.workers w
        where g.projection || ' ' || g.definition = any (w.known)
          and w.seen_at > clock_timestamp() - make_interval(secs => %(absent)s)) as is_so
) runs on true
group by k.projection, k.definition
"""


class Turn(StrEnum):
    """What a worker does about the definition that its code has of a projection."""

    FIRST = "first"
    """There is no generation yet: make one."""
    SERVED = "served"
    """A generation is live or being filled that was made by this definition."""
    NEXT = "next"
    """It is newer than all that there were, or nobody is left who could go on with what there is: build it."""
    WAITING = "waiting"
    """Other code runs the projection, and this is older, or of other settings."""


async def turns_of(connection: Connection, projections: Collection[Projection]) -> dict[str, Turn]:
    """Return by projection what is to be done about its definition."""
    parameters = {
        "projections": [projection.NAME for projection in projections],
        "definitions": [projection.definition() for projection in projections],
        "absent": _ABSENT_SECONDS,
    }
    cursor = await connection.execute(_TURNS, parameters, prepare=True)
    return {name: Turn(turn) for name, turn in await cursor.fetchall()}
