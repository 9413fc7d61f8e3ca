"""Every command and the function that handles it."""

from collections.abc import Collection
from typing import Any

from commands.knowledge.create_entry import (
    CreateKnowledgeEntries,
    CreateKnowledgeEntry,
    create_entries,
    create_entry,
)
from commands.knowledge.delete_document import DeleteDocument, delete_document
from commands.knowledge.delete_entry import DeleteKnowledgeEntry, delete_entry
from commands.knowledge.link_entries import LinkKnowledgeEntries, UnlinkKnowledgeEntries, link_entries, unlink_entries
from commands.knowledge.process_document import (
    CompleteDocumentProcessing,
    FailDocumentProcessing,
    ProcessDocument,
    complete_processing,
    fail_processing,
    process_document,
)
from commands.knowledge.reprocess_document import ReprocessDocument, reprocess_document
from commands.knowledge.restore_entry import RestoreKnowledgeEntry, restore_entry
from commands.knowledge.update_entry import UpdateKnowledgeEntry, update_entry
from commands.knowledge.upload_document import UploadDocument, upload_document
from commands.message import Command, Handler
from commands.operations.as_of import as_of_handlers
from commands.operations.park_event import NoteParkedEvent, note_parked_event
from commands.operations.projections import projection_handlers
from commands.ports import Operated


def build_handlers(
    rebuildable_projections: Collection[str], reactors: Collection[str], operated: Operated
) -> dict[type[Command], Handler[Any]]:
    """Return the handlers.

    Args:
        rebuildable_projections: the names that an operator may ask to be rebuilt.
        reactors: the other projections' names; an operator may ask to skip an event of theirs or to try it again.
        operated: looks at how they stand.
    """
    return {
        CreateKnowledgeEntry: create_entry,
        CreateKnowledgeEntries: create_entries,
        UpdateKnowledgeEntry: update_entry,
        DeleteKnowledgeEntry: delete_entry,
        RestoreKnowledgeEntry: restore_entry,
        LinkKnowledgeEntries: link_entries,
        UnlinkKnowledgeEntries: unlink_entries,
        UploadDocument: upload_document,
        ProcessDocument: process_document,
        CompleteDocumentProcessing: complete_processing,
        FailDocumentProcessing: fail_processing,
        ReprocessDocument: reprocess_document,
        DeleteDocument: delete_document,
        NoteParkedEvent: note_parked_event,
        **projection_handlers(rebuildable_projections, reactors, operated),
        **as_of_handlers(rebuildable_projections, operated),
    }
