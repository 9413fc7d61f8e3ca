"""What the log holds, counted: in spans of positions, so that no transaction lasts long however large it is."""

from collections import Counter
from dataclasses import dataclass, field
from datetime import date
from typing import Any

import psycopg

from eventstore.applications import written_by
from eventstore.position import LogPosition

_HEAD = """
select (select epoch from varve.log_epochs order by number desc limit 1), coalesce(max(position), 0),
       pg_total_relation_size('varve.events'), (select count(*) from varve.voided)
from varve.events
"""
_SPAN = 50_000
_IN_SPAN = "e.position > %(after)s and e.position <= %(upto)s and (%(tenant)s::text is null or e.tenant = %(tenant)s)"
# A stream begins with version 0 or 1.
_COUNTS = f"""
select e.tenant, e.topic || coalesce(' of ' || {written_by("e.tags")}, ''),
       (e.recorded_at at time zone 'UTC')::date, count(*),
       sum(octet_length(e.data) + octet_length(e.metadata))::bigint,
       count(*) filter (where e.version = 0 or (e.version = 1 and not exists (
           select from varve.events z where z.tenant = e.tenant and z.stream = e.stream and z.version = 0)))
from varve.events e where {_IN_SPAN} group by 1, 2, 3
"""
# A stream's last event lies in some span, and is among that span's highest if the stream is among the log's longest.
_LONGEST = f"""
select e.tenant, e.stream, max(e.version) from varve.events e where {_IN_SPAN} and e.stream is not null
group by 1, 2 order by 3 desc limit %(longest)s
"""


@dataclass(slots=True)
class LogStatistics:
    """Counts of events by topic, tenant and day (UTC); `octets` are those of data and metadata.

    The topics of another application are followed by its name.
    """

    head: LogPosition
    octets_on_disk: int
    voided: int
    events: int = 0
    octets: int = 0
    streams: int = 0
    by_topic: Counter[str] = field(default_factory=Counter)
    by_tenant: Counter[str] = field(default_factory=Counter)
    by_day: Counter[date] = field(default_factory=Counter)
    longest: list[tuple[str, str, int]] = field(default_factory=list)
    """Tenant, stream and version, the longest first."""


async def count_log(
    connection: psycopg.AsyncConnection[Any], tenant: str | None = None, longest: int = 10
) -> LogStatistics:
    """Count the whole log or one tenant's part of it; what is appended meanwhile is left out.

    Args:
        connection: in autocommit mode, of a role that sees all tenants.
        tenant: whose events; everyone's when None. Head, voided events and size on disk are the whole log's.
        longest: how many of the longest streams are named.
    """
    epoch, head, size, voided = await (await connection.execute(_HEAD)).fetchone() or ("", 0, 0, 0)
    found = LogStatistics(LogPosition(epoch, head), size, voided)
    versions: dict[tuple[str, str], int] = {}
    for after in range(0, head, _SPAN):
        span = {"after": after, "upto": min(after + _SPAN, head), "tenant": tenant, "longest": longest}
        for of_tenant, topic, day, events, octets, streams in await (
            await connection.execute(_COUNTS, span)
        ).fetchall():
            found.events += events
            found.octets += octets
            found.streams += streams
            found.by_topic[topic] += events
            found.by_tenant[of_tenant] += events
            found.by_day[day] += events
        for of_tenant, stream, version in await (await connection.execute(_LONGEST, span)).fetchall():
            versions[of_tenant, stream] = version
    ranked = sorted(versions.items(), key=lambda item: (-item[1], item[0]))[:longest]
    found.longest = [(of_tenant, stream, version) for (of_tenant, stream), version in ranked]
    return found
