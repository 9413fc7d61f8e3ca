"""Whose part of the log the library's recorders write and read: a tenant's, and within it an application's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from uuid import UUID

from eventstore.applications import tag_of
from eventstore.errors import EventStoreError

current_tenant: ContextVar[str] = ContextVar("current_tenant")
"""The tenant whose events the recorders of this context write and read; see `acting_for`."""

_UUID_LENGTH = len("00000000-0000-0000-0000-000000000000")


class TenantNotSet(EventStoreError):
    """No tenant is set: wrap what uses the application in `with acting_for(tenant):`, or give it VARVE_TENANT."""


@contextmanager
def acting_for(tenant: str) -> Iterator[None]:
    """Let the recorders write and read the events of `tenant` within the block. New threads don't inherit it."""
    token = current_tenant.set(tenant)
    try:
        yield
    finally:
        current_tenant.reset(token)


def tenant_of_context(otherwise: str | None = None) -> str:
    """Return the tenant of the surrounding `acting_for`, or else `otherwise`.

    Raises:
        TenantNotSet: there is neither.
    """
    tenant = current_tenant.get(otherwise)
    if not tenant:
        raise TenantNotSet(TenantNotSet.__doc__)
    return tenant


@dataclass(frozen=True, slots=True)
class Scope:
    """A tenant's part of the log, or what one application has written of it.

    The library gives each application tables of its own. Here all share the log, so an application's events carry a
    tag, and its streams and tracked positions begin with its name: one that follows another then never reads what it
    wrote itself, and equal ids don't meet.
    """

    tenant: Callable[[], str] = tenant_of_context
    application: str = ""
    """Its name; empty for all that the tenant has."""
    writes_as: str = ""
    """The name that its events are tagged with, if it is not `application`'s own."""
    has_text_ids: bool = False
    """Whether even ids that look like UUIDs come back as text."""

    @property
    def tags(self) -> tuple[str, ...]:
        """What every event that the scope reads is tagged with."""
        return (tag_of(self.application),) if self.application else ()

    @property
    def tags_written(self) -> tuple[str, ...]:
        """What every event that the scope writes is tagged with; nothing, if it is Varve's own."""
        return (tag_of(self.writes_as),) if self.writes_as else self.tags

    @property
    def is_ours(self) -> bool:
        """Whether the scope is Varve's own, which passes by what other applications wrote."""
        return not self.tags_written

    def stream(self, originator_id: UUID | str) -> str:
        return f"{self.application}-{originator_id}" if self.application else str(originator_id)

    def originator_id(self, stream: str) -> UUID | str:
        name = stream.removeprefix(f"{self.application}-") if self.application else stream
        if self.has_text_ids or len(name) != _UUID_LENGTH:
            return name
        try:
            found = UUID(name)
        except ValueError:
            return name
        return found if str(found) == name else name

    def tracked(self, upstream: str) -> str:
        """Return the name under which this application's place in the log of `upstream` is kept."""
        return f"{self.application}/{upstream}" if self.application else upstream

    def of_tenant_now(self) -> "Scope":
        """Return the scope bound to the tenant that is set now, for threads, which have a context of their own."""
        tenant = self.tenant()
        return replace(self, tenant=lambda: tenant)
