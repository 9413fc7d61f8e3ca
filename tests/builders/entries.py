"""Entry events and contents with a value for everything that a test does not care about."""

from typing import Any
from uuid import UUID

from domain.knowledge.entry import NewEntry
from domain.knowledge.events import (
    KnowledgeEntryCreated,
    KnowledgeEntryDeleted,
    KnowledgeEntryLinked,
    KnowledgeEntryRestored,
    KnowledgeEntryUnlinked,
    KnowledgeEntryUpdated,
)

ENTRY_ID = UUID("0190a000-0000-7000-8000-000000000001")
TARGET_ID = UUID("0190a000-0000-7000-8000-000000000002")
NOBODYS_ID = UUID("0190a000-0000-7000-8000-00000000dead")
"""The id of nothing that any test makes."""

DESCRIBED: dict[str, Any] = {
    "visibility": "tenant",
    "name": "Sediment",
    "description": "A yearly layer.",
    "entity_type": "note",
    "category": "geology",
    "tags": ("clay", "silt"),
    "attributes": {"years": 1},
}


def new_entry(**fields: Any) -> NewEntry:
    """What an entry is made of."""
    return NewEntry(**(DESCRIBED | fields))


def created(entry_id: UUID = ENTRY_ID, owner: str = "ann", **fields: Any) -> KnowledgeEntryCreated:
    return KnowledgeEntryCreated(entry_id=entry_id, owner=owner, **(DESCRIBED | fields))


def updated(entry_id: UUID = ENTRY_ID, *, changed: tuple[str, ...], **fields: Any) -> KnowledgeEntryUpdated:
    return KnowledgeEntryUpdated(entry_id=entry_id, changed=changed, **(DESCRIBED | fields))


def deleted(entry_id: UUID = ENTRY_ID) -> KnowledgeEntryDeleted:
    return KnowledgeEntryDeleted(entry_id=entry_id)


def restored() -> KnowledgeEntryRestored:
    return KnowledgeEntryRestored(entry_id=ENTRY_ID)


def linked(relation: str = "explains") -> KnowledgeEntryLinked:
    return KnowledgeEntryLinked(entry_id=ENTRY_ID, target_id=TARGET_ID, relation=relation)


def unlinked(relation: str = "explains") -> KnowledgeEntryUnlinked:
    return KnowledgeEntryUnlinked(entry_id=ENTRY_ID, target_id=TARGET_ID, relation=relation)
