"""Keeps what became of operators' requests, in the transaction that carries them out."""

from dataclasses import dataclass
from uuid import UUID

from eventstore.records import RecordedEvent
from projections.definition import Connection

_ID_LENGTH = 36
_RECORD = """
insert into varve.operator_outcomes (tenant, request_id, position, status, projection, generation, code, sentence)
values (%(tenant)s, %(request_id)s, %(position)s, %(status)s, %(projection)s, %(generation)s, %(code)s, %(sentence)s)
on conflict (tenant, request_id) do nothing
"""


@dataclass(frozen=True, slots=True)
class Done:
    """The request had its effect: on which projection, and on which of its generations, if it is one."""

    sentence: str
    projection: str | None = None
    generation: int | None = None


@dataclass(frozen=True, slots=True)
class Refused:
    """The request had nothing to do any more: the name of the refusal, and what there is."""

    code: str
    sentence: str


async def record(connection: Connection, request: RecordedEvent, outcome: Done | Refused) -> None:
    """Keep the outcome of the request, whose id ends the name of its stream; others' events have no such id."""
    request_id = _id_of(request)
    if request_id is None:
        return
    fields: dict[str, object] = {"status": "done", "projection": None, "generation": None, "code": None}
    match outcome:
        case Done(sentence, projection, generation):
            fields |= {"sentence": sentence, "projection": projection, "generation": generation}
        case Refused(code, sentence):
            fields |= {"status": "refused", "sentence": sentence, "code": code}
    about = {"tenant": request.tenant, "request_id": request_id, "position": request.position}
    await connection.execute(_RECORD, fields | about)


def _id_of(request: RecordedEvent) -> UUID | None:
    try:
        return UUID((request.stream or "")[-_ID_LENGTH:])
    except ValueError:
        return None
