"""What entries are, written from the specification alone: dictionaries, no event, no fold of the product."""

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from domain.shared.access import Actor, Role


@dataclass
class ModelEntry:
    tenant: str
    owner: str
    values: dict[str, Any]
    links: list[tuple[UUID, str]] = field(default_factory=list)
    is_active: bool = True
    version: int = 1


@dataclass
class EntryModel:
    """Every entry of every tenant; each method answers the refusal's name, or None when the command is accepted."""

    entries: dict[UUID, ModelEntry] = field(default_factory=dict)

    def create(self, entry_id: UUID, actor: Actor, values: dict[str, Any]) -> None:
        self.entries[entry_id] = ModelEntry(actor.tenant, actor.user, dict(values))

    def update(self, entry_id: UUID, actor: Actor, changes: dict[str, Any]) -> str | None:
        return self._changeable(entry_id, actor) or self._apply(entry_id, changes)

    def delete(self, entry_id: UUID, actor: Actor) -> str | None:
        entry = self.visible(entry_id, actor)
        if entry is None:
            return "EntryNotFound"
        if entry.is_active:
            entry.is_active = False
            entry.version += 1
        return None

    def restore(self, entry_id: UUID, actor: Actor) -> str | None:
        entry = self.visible(entry_id, actor)
        if entry is None:
            return "EntryNotFound"
        if entry.is_active:
            return "EntryIsNotDeleted"
        entry.is_active = True
        entry.version += 1
        return None

    def link(self, entry_id: UUID, target_id: UUID, relation: str, actor: Actor) -> str | None:
        if entry_id == target_id:
            return "EntryCannotLinkToItself"
        refusal = self._changeable(entry_id, actor) or self._changeable(target_id, actor)
        if refusal is None and (target_id, relation) not in self.entries[entry_id].links:
            self.entries[entry_id].links.append((target_id, relation))
            self.entries[entry_id].version += 1
        return refusal

    def unlink(self, entry_id: UUID, target_id: UUID, relation: str, actor: Actor) -> str | None:
        refusal = self._changeable(entry_id, actor)
        if refusal is not None:
            return refusal
        if (target_id, relation) not in self.entries[entry_id].links:
            return "LinkNotFound"
        self.entries[entry_id].links.remove((target_id, relation))
        self.entries[entry_id].version += 1
        return None

    def visible(self, entry_id: UUID, actor: Actor) -> ModelEntry | None:
        """The entry, if it is of the actor's tenant and theirs, visible to all, or the actor is an administrator."""
        entry = self.entries.get(entry_id)
        if entry is None or entry.tenant != actor.tenant:
            return None
        is_open = entry.values["visibility"] == "tenant" or entry.owner == actor.user or Role.ADMIN in actor.roles
        return entry if is_open else None

    def _changeable(self, entry_id: UUID, actor: Actor) -> str | None:
        entry = self.visible(entry_id, actor)
        if entry is None:
            return "EntryNotFound"
        return None if entry.is_active else "EntryIsDeleted"

    def _apply(self, entry_id: UUID, changes: dict[str, Any]) -> None:
        entry = self.entries[entry_id]
        if any(entry.values[name] != value for name, value in changes.items()):
            entry.values.update(changes)
            entry.version += 1
