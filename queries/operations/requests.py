"""What became of an operator's request: whether it was carried out, or why it could not be any more."""

from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from domain.shared.access import Permission
from queries.errors import RequestNotFound
from queries.message import Answer, Asking, Query
from queries.ports import Question
from queries.tokens import with_token

_KINDS = ("rebuild", "swap", "cancel", "rollback", "pause", "resume", "retry", "skip", "as-of", "drop")
"""The categories of the streams, each of which holds one request."""

# Each stream is looked up by its name, which is unique in the tenant, and the rest by what was found. Parked events
# have no index by tenant and position: the expressions keep the plan from one that reads those of all tenants.
_SQL = """
with request as materialized (
    select split_part(s.stream, '-' || %(request_id)s, 1) as kind, e.position, e.recorded_at
    from unnest(%(streams)s::text[]) as s (stream)
    cross join lateral (select position, recorded_at from varve.events
                        where tenant = (select varve.tenant()) and stream = s.stream and version = 1 limit 1) e
)
select r.kind, r.position, o.projection, o.generation, o.code, r.recorded_at, o.finished_at,
       coalesce(o.status, case when v.is_voided then 'voided' when p.error is not null then 'failed'
                               else 'waiting' end) as status,
       coalesce(o.sentence, case when v.is_voided then 'The request was voided before it was carried out.'
                                 when p.error is not null then 'It could not be carried out: ' || p.error || '.'
                                 else 'No worker has carried it out yet.' end) as sentence
from request r
left join lateral (select * from varve.operator_outcomes
                   where tenant = (select varve.tenant()) and request_id = %(request_id)s::uuid limit 1) o on true
left join lateral (select true as is_voided from varve.voided
                   where tenant = (select varve.tenant()) and position = r.position limit 1) v on true
left join lateral (select error from varve.parked
                   where o.status is null and tenant = (select varve.tenant())
                     and projection || '' = 'operator_requests' and position + 0 = r.position limit 1) p on true
"""


class RequestView(BaseModel):
    """A request of an operator of your tenant.

    Attributes:
        kind: what was asked for, such as `rebuild` or `skip`.
        status: `waiting` until a projection worker carries it out; `refused` when it had nothing to do any more.
        projection: what it has changed, with the `generation`, if that is one.
        code: the name of the refusal.
        sentence: what happened, or why nothing did.
    """

    model_config = ConfigDict(frozen=True)

    request_id: UUID
    kind: str
    position: str
    status: Literal["waiting", "done", "refused", "voided", "failed"]
    projection: str | None
    generation: int | None
    code: str | None
    sentence: str
    recorded_at: datetime
    finished_at: datetime | None


class GetRequest(Query):
    PERMISSION: ClassVar[Permission] = Permission.OPERATIONS_MANAGE
    MODELS: ClassVar[tuple[str, ...]] = ()

    request_id: UUID


async def get_request(query: GetRequest, asking: Asking) -> Answer[RequestView]:
    """Return what became of a request.

    Raises:
        RequestNotFound: no operator of the tenant has sent one with this id.
    """
    request_id = str(query.request_id)
    parameters: dict[str, Any] = {
        "request_id": request_id,
        "streams": [f"{kind}-{request_id}" for kind in _KINDS],
    }
    reached = await asking.read_models.reached(())
    reading = await asking.read_models.read(asking.actor, Question((), _SQL, parameters))
    if not reading.rows:
        raise RequestNotFound(query.request_id)
    (row,) = reading.rows
    return Answer(
        RequestView(request_id=query.request_id, **with_token(row, reached.epoch)), reached.head, reached.epoch
    )
