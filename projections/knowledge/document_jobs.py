"""The reactor that turns uploads and requests to reprocess into pending work."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from psycopg.types.json import Jsonb

from domain.knowledge.events import DocumentDeleted, DocumentReprocessingRequested, DocumentUploaded
from domain.shared.events import Event
from eventstore.records import RecordedEvent
from projections.definition import Connection, Generation, Projection

JOB_KIND = "process_document"

_ADD = """
insert into varve.jobs as j (tenant, kind, reference, position, payload)
values (%(tenant)s, %(kind)s, %(reference)s, %(position)s, %(payload)s)
on conflict (tenant, kind, reference) do update
set position = excluded.position, payload = excluded.payload, attempts = 0, run_after = clock_timestamp(),
    leased_until = null, error = null
"""
_REMOVE = "delete from varve.jobs where tenant = %(tenant)s and kind = %(kind)s and reference = %(reference)s"


class DocumentJobs(Projection):
    """One pending row for each document that waits for its processing.

    A row appears in the transaction that moves the position, so that no upload is lost and none is processed twice. The
    wake-up after it may be lost: the document worker looks by itself, too.
    """

    NAME: ClassVar[str] = "document_jobs"
    EVENTS: ClassVar[frozenset[type[Event]]] = frozenset(
        {DocumentUploaded, DocumentReprocessingRequested, DocumentDeleted}
    )
    IS_REBUILDABLE: ClassVar[bool] = False

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake

    async def apply(
        self, connection: Connection, generation: Generation, events: Sequence[RecordedEvent], prepared: None
    ) -> None:
        for recorded in events:
            match recorded.event:
                case DocumentUploaded(document_id=document_id):
                    attempt = 1
                case DocumentReprocessingRequested(document_id=document_id, attempt=attempt):
                    pass
                case DocumentDeleted(document_id=document_id):
                    attempt = 0
                case _:
                    continue
            parameters = {
                "tenant": recorded.tenant,
                "kind": JOB_KIND,
                "reference": str(document_id),
                "position": recorded.position,
                "payload": Jsonb(
                    {
                        "attempt": attempt,
                        "correlation_id": str(recorded.metadata.correlation_id),
                        "traceparent": recorded.metadata.traceparent,
                    }
                ),
            }
            await connection.execute(_ADD if attempt else _REMOVE, parameters)

    def committed(self) -> None:
        self._wake()
