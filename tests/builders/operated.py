"""The port of operators' requests where none is decided on."""

from uuid import UUID

from commands.ports import Found, FoundAsOf, LogExtent


class NothingOperated:
    """Stands for the projections of an application whose operators ask for nothing."""

    async def projection(self, name: str, position: str | None = None) -> Found:
        raise LookupError(name)

    async def as_of(self, as_of_id: UUID) -> FoundAsOf:
        raise LookupError(as_of_id)

    async def extent(self, position: str | None = None) -> LogExtent:
        raise LookupError(position)

    async def has_events(self, tenant: str) -> bool:
        raise LookupError(tenant)
