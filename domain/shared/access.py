"""Who may do what: actors, roles and permissions, and who sees which row."""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from domain.shared.errors import DomainError
from domain.shared.ids import TenantId, UserId


class Permission(StrEnum):
    """What a command or query needs; declared beside its definition."""

    KNOWLEDGE_READ = "knowledge:read"
    KNOWLEDGE_WRITE = "knowledge:write"
    DOCUMENT_PROCESS = "document:process"
    ACTIVITY_READ = "activity:read"
    COMMANDS_READ = "commands:read"
    AUDIT_READ = "audit:read"
    OPERATIONS_MANAGE = "operations:manage"


class Role(StrEnum):
    """What a token carries."""

    READER = "reader"
    EDITOR = "editor"
    ADMIN = "admin"
    AUDITOR = "auditor"
    OPERATOR = "operator"
    SYSTEM = "system"


_READS = frozenset({Permission.KNOWLEDGE_READ, Permission.COMMANDS_READ})
_WRITES = _READS | {Permission.KNOWLEDGE_WRITE}

PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.READER: _READS,
    Role.EDITOR: _WRITES,
    Role.ADMIN: _WRITES | {Permission.ACTIVITY_READ, Permission.AUDIT_READ},
    # Sees what others see, and how it was, and changes nothing.
    Role.AUDITOR: _READS | {Permission.ACTIVITY_READ, Permission.AUDIT_READ},
    Role.OPERATOR: frozenset({Permission.OPERATIONS_MANAGE, Permission.AUDIT_READ}),
    # Varve's own workers, acting inside a tenant. No token can carry it.
    Role.SYSTEM: frozenset(Permission),
}
"""The one role table."""


class Visibility(StrEnum):
    """Who, within a tenant, sees an entry or a document besides its owner and the tenant's administrators."""

    TENANT = "tenant"
    PRIVATE = "private"


@dataclass(eq=False)
class PermissionDenied(DomainError):
    """Your roles don't allow this."""

    remembered: ClassVar[bool] = False

    permission: Permission


class Actor(BaseModel):
    """Who acts, and in which tenant."""

    model_config = ConfigDict(frozen=True)

    tenant: TenantId
    user: UserId
    roles: frozenset[Role]

    def may(self, permission: Permission) -> bool:
        return any(permission in PERMISSIONS[role] for role in self.roles)

    def require(self, permission: Permission) -> None:
        """Raise `PermissionDenied` unless one of the roles has `permission`."""
        if not self.may(permission):
            raise PermissionDenied(permission)

    @property
    def sees_private(self) -> bool:
        """Whether rows of other owners that are private are visible too."""
        return not self.roles.isdisjoint({Role.ADMIN, Role.AUDITOR, Role.SYSTEM})

    def sees(self, owner: str, visibility: Visibility) -> bool:
        """Apply the rule that the read side applies in SQL to one aggregate."""
        return visibility is Visibility.TENANT or owner == self.user or self.sees_private


def system_actor(tenant: str) -> Actor:
    """Return the actor as which Varve's workers send commands within `tenant`."""
    return Actor(tenant=tenant, user="varve", roles=frozenset({Role.SYSTEM}))
