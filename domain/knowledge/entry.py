"""A knowledge entry: its state, how events change it, and what may be decided."""

from collections.abc import Sequence
from typing import assert_never
from uuid import UUID

from pydantic import BaseModel, ConfigDict, field_serializer, model_validator

from domain.knowledge.errors import (
    EntryCannotLinkToItself,
    EntryHasTooManyLinks,
    EntryIsDeleted,
    EntryIsNotDeleted,
    EntryNotFound,
    LinkNotFound,
)
from domain.knowledge.events import (
    ENTRY_EVENTS,
    EntryEvent,
    KnowledgeEntryCreated,
    KnowledgeEntryDeleted,
    KnowledgeEntryLinked,
    KnowledgeEntryRestored,
    KnowledgeEntryUnlinked,
    KnowledgeEntryUpdated,
)
from domain.knowledge.values import Attributes, Description, Name, NewTags, Relation, Tags
from domain.shared.access import Actor, Visibility
from domain.shared.aggregates import AggregateType
from domain.shared.ids import UserId
from domain.shared.values import Label

MAX_LINKS = 1_000
"""Of one entry: its state, and so each of its snapshots and rows, holds all of them."""


class Link(BaseModel):
    model_config = ConfigDict(frozen=True)

    target_id: UUID
    relation: Relation


class KnowledgeEntry(BaseModel):
    """An entry, deleted or not: a deleted one keeps what it was, so that it can be restored."""

    model_config = ConfigDict(frozen=True)

    entry_id: UUID
    owner: UserId
    visibility: Visibility
    name: Name
    description: Description
    entity_type: Label
    category: Label | None
    tags: Tags
    attributes: Attributes
    links: frozenset[Link] = frozenset()
    is_deleted: bool = False

    @field_serializer("links")
    def _links_in_order(self, links: frozenset[Link]) -> list[Link]:
        """Equal states have equal bytes, whatever order the set has in this process."""
        return sorted(links, key=lambda link: (str(link.target_id), link.relation))


class NewEntry(BaseModel):
    """What a new entry is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    description: Description = ""
    entity_type: Label = "note"
    category: Label | None = None
    tags: NewTags = ()
    attributes: Attributes = {}
    visibility: Visibility = Visibility.TENANT


class EntryChanges(BaseModel):
    """The fields to change: a field that is absent stays as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name | None = None
    description: Description | None = None
    entity_type: Label | None = None
    category: Label | None = None
    tags: NewTags | None = None
    attributes: Attributes | None = None
    visibility: Visibility | None = None

    @model_validator(mode="after")
    def _only_category_may_be_cleared(self) -> "EntryChanges":
        cleared = [
            field for field in sorted(self.model_fields_set) if field != "category" and getattr(self, field) is None
        ]
        if cleared:
            raise ValueError(f"{', '.join(cleared)} can't be null; leave the field out to keep its value")
        return self


def evolve(state: KnowledgeEntry | None, event: EntryEvent) -> KnowledgeEntry | None:
    """Return the entry after `event`; total, so that an old history always loads."""
    match event:
        case KnowledgeEntryCreated():
            return KnowledgeEntry.model_construct(**dict(event))
        case _ if state is None:
            return None
        case KnowledgeEntryUpdated():
            return state.model_copy(update={field: getattr(event, field) for field in EntryChanges.model_fields})
        case KnowledgeEntryDeleted():
            return state.model_copy(update={"is_deleted": True})
        case KnowledgeEntryRestored():
            return state.model_copy(update={"is_deleted": False})
        case KnowledgeEntryLinked(target_id=target_id, relation=relation):
            return state.model_copy(update={"links": state.links | {Link(target_id=target_id, relation=relation)}})
        case KnowledgeEntryUnlinked(target_id=target_id, relation=relation):
            return state.model_copy(update={"links": state.links - {Link(target_id=target_id, relation=relation)}})
        case _:
            assert_never(event)


def decide_create(entry_id: UUID, new: NewEntry, actor: Actor) -> Sequence[EntryEvent]:
    return [KnowledgeEntryCreated(entry_id=entry_id, owner=actor.user, **dict(new))]


def decide_update(
    state: KnowledgeEntry | None, entry_id: UUID, changes: EntryChanges, actor: Actor
) -> Sequence[EntryEvent]:
    """Return the update, or nothing when every named field has its value already."""
    entry = _live(state, entry_id, actor)
    wanted = {field: getattr(changes, field) for field in changes.model_fields_set}
    changed = tuple(sorted(field for field, value in wanted.items() if getattr(entry, field) != value))
    if not changed:
        return []
    described = {field: getattr(entry, field) for field in EntryChanges.model_fields}
    return [KnowledgeEntryUpdated(entry_id=entry_id, changed=changed, **(described | wanted))]


def decide_delete(state: KnowledgeEntry | None, entry_id: UUID, actor: Actor) -> Sequence[EntryEvent]:
    """Return the deletion, or nothing when the entry is deleted already."""
    entry = visible_entry(state, entry_id, actor)
    return [] if entry.is_deleted else [KnowledgeEntryDeleted(entry_id=entry_id)]


def decide_restore(state: KnowledgeEntry | None, entry_id: UUID, actor: Actor) -> Sequence[EntryEvent]:
    entry = visible_entry(state, entry_id, actor)
    if not entry.is_deleted:
        raise EntryIsNotDeleted(entry_id)
    return [KnowledgeEntryRestored(entry_id=entry_id)]


def decide_link(
    state: KnowledgeEntry | None, target: KnowledgeEntry | None, entry_id: UUID, link: Link, actor: Actor
) -> Sequence[EntryEvent]:
    """Return the link, or nothing when it is there already; both ends must be visible and not deleted."""
    if entry_id == link.target_id:
        raise EntryCannotLinkToItself(entry_id)
    entry = _live(state, entry_id, actor)
    _live(target, link.target_id, actor)
    if link in entry.links:
        return []
    if len(entry.links) >= MAX_LINKS:
        raise EntryHasTooManyLinks(entry_id, MAX_LINKS)
    return [KnowledgeEntryLinked(entry_id=entry_id, target_id=link.target_id, relation=link.relation)]


def decide_unlink(state: KnowledgeEntry | None, entry_id: UUID, link: Link, actor: Actor) -> Sequence[EntryEvent]:
    entry = _live(state, entry_id, actor)
    if link not in entry.links:
        raise LinkNotFound(entry_id, link.target_id, link.relation)
    return [KnowledgeEntryUnlinked(entry_id=entry_id, target_id=link.target_id, relation=link.relation)]


def visible_entry(state: KnowledgeEntry | None, entry_id: UUID, actor: Actor) -> KnowledgeEntry:
    """Return the entry, or refuse with the same error whether it does not exist or is another's private one."""
    if state is None or not actor.sees(state.owner, state.visibility):
        raise EntryNotFound(entry_id)
    return state


def _live(state: KnowledgeEntry | None, entry_id: UUID, actor: Actor) -> KnowledgeEntry:
    entry = visible_entry(state, entry_id, actor)
    if entry.is_deleted:
        raise EntryIsDeleted(entry_id)
    return entry


ENTRY = AggregateType(category="entry", state=KnowledgeEntry, evolve=evolve, events=ENTRY_EVENTS)
