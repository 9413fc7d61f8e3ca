"""What part of the log is read, and the SQL that reads a window of it by an index that is in the order of positions."""

from dataclasses import dataclass
from typing import Any

from eventstore.applications import is_ours, written_by
from eventstore.slots import SLOTS, SlotRange

TENANT, POSITION, STREAM, VERSION, TOPIC, CLASS_VERSION, DATA, METADATA, RECORDED_AT, SIZE, IS_VOIDED, APPLICATION = (
    range(12)
)
"""Where the columns of a window are in its rows."""
_COLUMNS = (
    "tenant, position, stream, version, topic, class_version, data, metadata, recorded_at,"
    " octet_length(data) + octet_length(metadata) as size, tags"
)
# An event that is bigger than its share is answered without its bytes, so that no answer holds more than its octets,
# whatever the events are like. A running sum would say it exactly, and cost more than reading the rows. Null is the
# cheapest value on the wire and in Python, so the usual row has it in the last columns.
_BOUNDED = """
select tenant, position, stream, version, topic, class_version, case when size <= %(share)s then data end as data,
       case when size <= %(share)s then metadata end as metadata, recorded_at,
       case when size > %(share)s then size end as size, {is_voided} as is_voided, {application} as application
from ({rows}) e
order by position
"""
_IS_VOIDED = """
       case when (select exists (select from varve.voided)) and exists (
           select from varve.voided v where v.tenant = e.tenant and v.position = e.position
             and v.voided_by <= %(voided_by)s) then true end"""
AT = f"""
select {_COLUMNS} from varve.events e where position = any (%(positions)s::bigint[])
and (%(with_others)s or {is_ours("tags")})
and not (%(leaves_out_voided)s and exists (
    select from varve.voided v where v.tenant = e.tenant and v.position = e.position
      and v.voided_by <= %(voided_by)s)) order by position
"""
"""Asks for the events at some positions, in the columns of a window."""
LARGE = "select position, data, metadata from varve.events where position = any (%(positions)s::bigint[])"
"""Asks for what a window has left out."""

_BRANCH = "select {columns} from varve.events where {conditions} order by position limit {limit}"
_IN_SPAN = "position > %(after)s and position <= %(upto)s"
# Pairs, where only the index over both can answer them: one over positions alone looks cheaper to a plan that is made
# without the values, and then reads all other topics and tenants of the span as well.
_TENANT_IN_SPAN = "tenant = %(tenant)s and (tenant, position) > (%(tenant)s, %(after)s) and position <= %(upto)s"
_TOPIC_IN_SPAN = (
    "topic = %(topic_{number})s and (topic, position) > (%(topic_{number})s, %(after)s)"
    " and (topic, position) <= (%(topic_{number})s, %(upto)s)"
)
_SLOTS = f"crc32(convert_to({{key}}, 'UTF8')) %% {SLOTS} between %(first_slot)s::bigint and %(last_slot)s::bigint"
_OURS = is_ours("tags")
_APPLICATION = written_by("tags")
ANY_POSITION = 2**63 - 1
"""No position is beyond it."""


@dataclass(frozen=True, slots=True)
class LogFilter:
    """What a reader wants of the log: everything, unless it says otherwise.

    Attributes:
        topics: only events of these; of every topic when empty.
        tenant: only events of this one.
        slots: only events of these parts.
        with_others: whether events that another application wrote are wanted, too; they must not be decoded as ours.
        leaves_out_voided: whether events that were voided since are left out.
        up_to: only events up to this position.
        voided_by: of what was voided only what events up to this position void.
    """

    topics: frozenset[str] = frozenset()
    tenant: str | None = None
    slots: SlotRange | None = None
    with_others: bool = False
    leaves_out_voided: bool = False
    up_to: int = ANY_POSITION
    voided_by: int = ANY_POSITION


EVERYTHING = LogFilter()


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of positions, and the most that is answered of it: events, and bytes of their data and metadata."""

    after: int
    upto: int
    limit: int
    octets: int


def window_query(wanted: LogFilter, span: Span) -> tuple[str, dict[str, Any]]:
    """Return the query for a window, and its parameters.

    Beside an event's columns a row has its bytes' number, if that is more than an even share of the span's octets: its
    data and metadata are null then, and `LARGE` reads them. The next column is true if it is to be left out as voided,
    and the last one names another application that wrote it.

    Topics alone are one ordered branch each, merged: rows that are not wanted are never read. A tenant's events are
    ordered by the primary key; what else is asked of them is looked up in their rows, and so it is with slots.
    """
    parameters: dict[str, Any] = {"after": span.after, "upto": span.upto, "share": span.octets // span.limit}
    conditions = [] if wanted.with_others else [_OURS]
    if wanted.slots is not None:
        key = "tenant || '/' || coalesce(stream, 'None')" if wanted.slots.by == "stream" else "tenant"
        conditions.append(_SLOTS.format(key=key))
        parameters |= {"first_slot": wanted.slots.first, "last_slot": wanted.slots.last}
    if wanted.tenant is not None:
        parameters["tenant"] = wanted.tenant
        if wanted.topics:
            conditions.append("topic = any (%(topics)s)")
            parameters["topics"] = sorted(wanted.topics)
        spans = [_TENANT_IN_SPAN]
    elif wanted.topics:
        parameters |= {f"topic_{number}": topic for number, topic in enumerate(sorted(wanted.topics))}
        spans = [_TOPIC_IN_SPAN.format(number=number) for number in range(len(wanted.topics))]
    else:
        spans = [_IN_SPAN]
    branches = [_branch([in_span, *conditions], span.limit) for in_span in spans]
    rows = branches[0]
    if len(branches) > 1:
        merged = "\nunion all\n".join(f"({branch})" for branch in branches)
        rows = f"select * from ({merged}) e order by position limit {span.limit}"
    is_voided = "null::boolean"
    if wanted.leaves_out_voided:
        is_voided = _IS_VOIDED
        parameters["voided_by"] = wanted.voided_by
    application = _APPLICATION if wanted.with_others else "null::text"
    return _BOUNDED.format(rows=rows, is_voided=is_voided, application=application), parameters


def _branch(conditions: list[str], limit: int) -> str:
    return _BRANCH.format(columns=_COLUMNS, conditions=" and ".join(conditions), limit=limit)
