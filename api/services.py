"""What the HTTP layer is given: buses, tokens, blobs and health; it opens nothing itself."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from api.tokens import TokenVerifier
from commands.bus import CommandBus
from domain.shared.ids import Ids
from queries.bus import QueryBus


class StoredUpload(Protocol):
    @property
    def sha256(self) -> str: ...

    @property
    def size(self) -> int: ...


class UploadStore(Protocol):
    """Keeps the bytes of uploads, by tenant and content."""

    async def put_stream(self, tenant: str, chunks: AsyncIterator[bytes], max_bytes: int) -> StoredUpload: ...


HealthCheck = Callable[[], Awaitable[None]]
HealthWarning = Callable[[], Awaitable[str | None]]


@dataclass(frozen=True, slots=True)
class Services:
    """`health_checks` are asked by name, each within a time limit; one that raises is not ready.

    `health_warnings` are asked alike; a sentence that one returns is shown, and takes no process out of rotation.

    `is_metered` says whether anybody collects metrics.
    """

    commands: CommandBus
    queries: QueryBus
    tokens: TokenVerifier
    ids: Ids
    uploads: UploadStore
    health_checks: Mapping[str, HealthCheck]
    health_warnings: Mapping[str, HealthWarning]
    max_body_bytes: int
    max_upload_bytes: int
    is_metered: bool
