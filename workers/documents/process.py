"""Processes one document: the file is parsed, cut into passages and stored; a command records how it ended."""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID, uuid5

import structlog
from opentelemetry import propagate, trace

from commands.bus import CommandBus
from commands.knowledge.process_document import (
    CompleteDocumentProcessing,
    FailDocumentProcessing,
    ProcessDocument,
)
from commands.message import Command, CommandRequest
from domain.knowledge.document import DOCUMENT, Document, ProcessedContent
from domain.knowledge.errors import DocumentIsDeleted, DocumentNotFound, ProcessingAttemptIsOver
from domain.shared.access import system_actor
from eventstore.load import AggregateRepository
from workers.blobs import Blobs, BlobTooLarge, StoredBlob
from workers.documents.document import ParsedDocument
from workers.documents.isolation import parse_isolated
from workers.documents.limits import ParserLimits
from workers.documents.rejection import DocumentRejected, Reason
from workers.documents.titles import choose_title
from workers.jobs import Job
from workers.texts.errors import TextFailed, TextTookTooLong, TextTooLarge
from workers.texts.texts import TextProcesses

log = structlog.get_logger()
tracer = trace.get_tracer("varve.workers")

_MOST_ATTEMPTS = 10
_COMMANDS = UUID("6f1c3f0e-53a5-5a3e-9d5c-6a1c8a0b7c11")
_MAX_CONTENT_BYTES = 200_000_000
"""The search reads it in a process of a gigabyte."""
_OVER = (ProcessingAttemptIsOver, DocumentIsDeleted, DocumentNotFound)
"""Another run has ended the attempt, or nobody wants it any more; every other refusal is tried again."""


@dataclass(frozen=True, slots=True)
class DocumentProcessor:
    """Handles the jobs that `projections.knowledge.document_jobs` makes."""

    commands: CommandBus
    repository: AggregateRepository
    blobs: Blobs
    texts: TextProcesses
    limits: ParserLimits

    async def handle(self, job: Job) -> None:
        """Process the document of `job`; harmless when a worker that died had done so already."""
        document_id, attempt = UUID(job.reference), int(job.payload["attempt"])
        structlog.contextvars.bind_contextvars(tenant=job.tenant, document_id=job.reference, attempt=attempt)
        uploaded = propagate.extract({"traceparent": job.payload.get("traceparent") or ""})
        with tracer.start_as_current_span("document.process", context=uploaded):
            try:
                await self._send(job, ProcessDocument(document_id=document_id, attempt=attempt))
                outcome = await self._outcome(job, document_id, attempt)
                await self._send(job, outcome)
            except _OVER as over:
                log.info("document.attempt_over", reason=type(over).__name__)

    async def _outcome(self, job: Job, document_id: UUID, attempt: int) -> Command:
        if job.attempts > _MOST_ATTEMPTS:
            message = "Processing this file failed several times on our side. Try again later, or tell your operator."
            return FailDocumentProcessing(
                document_id=document_id, attempt=attempt, reason="internal_error", message=message
            )
        loaded = await self.repository.load(DOCUMENT, job.tenant, document_id)
        if loaded.state is None:
            raise LookupError(f"document {document_id} of tenant {job.tenant} has a job but no events")
        try:
            parsed = await self._parse(job.tenant, loaded.state)
            content = await self._store(job.tenant, parsed, loaded.state.file_name)
        except DocumentRejected as rejected:
            log.info("document.rejected", reason=rejected.reason)
            return FailDocumentProcessing(
                document_id=document_id, attempt=attempt, reason=rejected.reason, message=rejected.sentence
            )
        return CompleteDocumentProcessing(document_id=document_id, attempt=attempt, content=content)

    async def _parse(self, tenant: str, document: Document) -> ParsedDocument:
        async with self.blobs.local_path(tenant, document.sha256) as path:
            return await parse_isolated(path, document.file_name, document.media_type, self.limits)

    async def _store(self, tenant: str, parsed: ParsedDocument, file_name: str) -> ProcessedContent:
        is_named_by_file = parsed.title == choose_title(None, (), file_name)
        title = "" if is_named_by_file else parsed.title

        async def store(content: AsyncIterator[bytes]) -> StoredBlob:
            return await self.blobs.put_stream(tenant, content, _MAX_CONTENT_BYTES)

        with _told_to_the_owner():
            stored, passages = await self.texts.store_content(parsed, title, store)
        return ProcessedContent(
            title=parsed.title,
            language=parsed.language,
            media_type=parsed.media_type,
            characters=len(parsed.text),
            pages=len(parsed.pages) or None,
            chunk_count=passages,
            content_sha256=stored.sha256,
        )

    async def _send(self, job: Job, command: Command) -> None:
        """Send a command whose id follows from the claim: the log keeps each outcome, failures of our own too.

        That an attempt ends once, whoever ends it, is the document's own rule.
        """
        name = f"{job.tenant}/{job.reference}/{job.position}/{job.attempts}/{command.name()}"
        request = CommandRequest(
            actor=system_actor(job.tenant),
            command_id=uuid5(_COMMANDS, name),
            correlation_id=UUID(job.payload["correlation_id"]),
        )
        await self.commands.execute(command, request)


@contextmanager
def _told_to_the_owner() -> Iterator[None]:
    """Reject a document that can't be cut: to try again would end the same."""
    try:
        yield
    except TextTookTooLong as error:
        sentence = "Cutting the document into passages took too long and was stopped; please split it into parts."
        raise DocumentRejected(Reason.TIMEOUT, sentence) from error
    except (TextTooLarge, BlobTooLarge) as error:
        sentence = "Cutting the document into passages takes more memory than is allowed; please split it into parts."
        raise DocumentRejected(Reason.TOO_LARGE, sentence) from error
    except TextFailed as error:
        log.warning("document.cutting_failed", error=str(error))
        sentence = "The document's text could not be cut into passages; please save it in another format."
        raise DocumentRejected(Reason.CORRUPT, sentence) from error
