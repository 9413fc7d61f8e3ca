"""Keeps the bytes of uploaded files: one object for each content and tenant, named by its SHA-256."""

import asyncio
import errno
import hashlib
import os
import re
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

from obstore.exceptions import BaseError, NotFoundError
from obstore.store import LocalStore, ObjectStore

from eventstore.fault_log import FAULTS
from workers.blob_faults import of_blob_store

_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_PIECE = 256 * 1024
_INCOMING = "incoming"
_ABANDONED_AFTER = timedelta(days=1)


class BlobError(Exception):
    """What can go wrong with a blob."""


class BlobTooLarge(BlobError):
    """More bytes came than may be stored; nothing was kept.

    Attributes:
        max_bytes: how many would have been allowed.
    """

    def __init__(self, max_bytes: int) -> None:
        super().__init__(f"the content is longer than {max_bytes} bytes")
        self.max_bytes = max_bytes


class BlobNotFound(BlobError):
    """The tenant has no blob of that name."""

    def __init__(self, tenant: str, sha256: str) -> None:
        super().__init__(f"tenant {tenant} has no blob {sha256}")
        self.tenant = tenant
        self.sha256 = sha256


class BlobCorrupt(BlobError):
    """The stored bytes are no longer those that were put."""

    def __init__(self, tenant: str, sha256: str) -> None:
        super().__init__(f"blob {sha256} of tenant {tenant} no longer has the content of its name")
        self.tenant = tenant
        self.sha256 = sha256


@dataclass(frozen=True, slots=True)
class StoredBlob:
    """What identifies a blob within its tenant, and its length in bytes."""

    sha256: str
    size: int


class Blobs:
    """A blob store over any object store; safe for concurrent use, putting the same content twice included."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    async def put_stream(self, tenant: str, chunks: AsyncIterator[bytes], max_bytes: int) -> StoredBlob:
        """Store what `chunks` yields and return its name; the whole content is never in memory.

        It is written under a temporary name and renamed at its end, so that a crash leaves no half blob.

        Raises:
            BlobTooLarge: as soon as more than `max_bytes` have come.
            BlobStoreFault: the store has failed: its disk is full, say.
            ValueError: `tenant` is no name of a tenant.
        """
        temporary = f"{_checked_tenant(tenant)}/{_INCOMING}/{uuid4().hex}"
        content = _Hashed(chunks, max_bytes)
        try:
            with of_blob_store():
                await self._store.put_async(temporary, content.pieces(), use_multipart=True)
        except BaseException:
            await self._discard_quietly(temporary)
            if content.failure is not None:
                raise content.failure from None
            raise
        blob = StoredBlob(content.digest.hexdigest(), content.size)
        with of_blob_store():
            await self._rename(temporary, _key(tenant, blob.sha256))
        FAULTS.note_stored("blobs")
        return blob

    async def put_bytes(self, tenant: str, content: bytes, max_bytes: int) -> StoredBlob:
        """Store `content`; see `put_stream`."""

        async def once() -> AsyncIterator[bytes]:
            yield content

        return await self.put_stream(tenant, once(), max_bytes)

    async def get_bytes(self, tenant: str, sha256: str) -> bytes:
        """Return the blob's content.

        Raises:
            BlobNotFound: the tenant has none of that name.
            BlobCorrupt: the bytes have changed.
        """
        return b"".join([piece async for piece in self.stream(tenant, sha256)])

    async def stream(self, tenant: str, sha256: str) -> AsyncIterator[bytes]:
        """Yield the content in pieces; a change of its bytes is known, and raised, after the last of them.

        Raises:
            BlobNotFound: the tenant has none of that name.
            BlobCorrupt: the bytes have changed.
            BlobStoreFault: the store has failed.
        """
        with of_blob_store():
            try:
                found = await self._store.get_async(_key(tenant, sha256))
            except (NotFoundError, FileNotFoundError):
                self._require_folder()
                raise BlobNotFound(tenant, sha256) from None
        digest = hashlib.sha256()
        pieces = found.stream(min_chunk_size=_PIECE).__aiter__()
        while (piece := await _next(pieces)) is not None:
            digest.update(piece)
            yield piece
        if digest.hexdigest() != sha256:
            raise BlobCorrupt(tenant, sha256)

    @asynccontextmanager
    async def local_path(self, tenant: str, sha256: str) -> AsyncIterator[Path]:
        """Lend a file with the blob's verified content, to be read only: the store's own, or a copy for the while.

        Raises:
            BlobNotFound: the tenant has none of that name.
            BlobCorrupt: the bytes have changed.
        """
        own = self._own_path(_key(tenant, sha256))
        if own is not None:
            async for _ in self.stream(tenant, sha256):
                pass
            yield own
            return
        with tempfile.NamedTemporaryFile(prefix="varve-blob-") as copy:
            async for piece in self.stream(tenant, sha256):
                await asyncio.to_thread(copy.write, piece)
            copy.flush()
            yield Path(copy.name)

    async def remove_abandoned(self, tenant: str, *, now: datetime | None = None) -> int:
        """Delete what uploads that died more than a day ago have left behind, and return how many objects that were."""
        before = (now or datetime.now(UTC)) - _ABANDONED_AFTER
        folder = f"{_checked_tenant(tenant)}/{_INCOMING}"
        removed = 0
        with of_blob_store():
            async for page in self._store.list_async(folder):
                for entry in page:
                    if entry["last_modified"] < before:
                        await self._discard(entry["path"])
                        removed += 1
            own = self._own_path(folder)
            return removed + (await asyncio.to_thread(_remove_staged, own, before) if own is not None else 0)

    async def _rename(self, temporary: str, final: str) -> None:
        """Local bytes are on the disk before the name is, and the name before the caller records it."""
        try:
            if (written := self._own_path(temporary)) is not None:
                await asyncio.to_thread(_sync, written)
            await self._store.rename_async(temporary, final)
            if (named := self._own_path(final)) is not None:
                await asyncio.to_thread(_sync, named.parent)
        except BaseException:
            await self._discard_quietly(temporary)
            raise

    def _require_folder(self) -> None:
        """See that nothing is missing but the blob.

        Raises:
            FileNotFoundError: the store's own folder is.
        """
        folder = self._own_path("")
        if folder is not None and not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the blob store's folder is missing", str(folder))

    def _own_path(self, key: str) -> Path | None:
        if not isinstance(self._store, LocalStore) or self._store.prefix is None:
            return None
        return Path(self._store.prefix) / key

    async def _discard(self, key: str) -> None:
        try:
            await self._store.delete_async(key)
        except (NotFoundError, FileNotFoundError):
            return

    async def _discard_quietly(self, key: str) -> None:
        """Delete what is left of a failed upload; what can't be deleted is, as abandoned, a day later."""
        with suppress(BaseError, OSError):
            await self._discard(key)


async def _next(pieces: AsyncIterator[Any]) -> bytes | None:
    with of_blob_store():
        piece = await anext(pieces, None)
    return None if piece is None else bytes(piece)


class _Hashed:
    """Passes pieces on, counts and hashes them; the store's binding hides what its source raises, so that is kept."""

    def __init__(self, chunks: AsyncIterator[bytes], max_bytes: int) -> None:
        self._chunks = chunks
        self._max_bytes = max_bytes
        self.digest = hashlib.sha256()
        self.size = 0
        self.failure: Exception | None = None

    async def pieces(self) -> AsyncIterator[bytes]:
        try:
            async for piece in self._chunks:
                self._take(piece)
                yield piece
        except Exception as error:
            self.failure = error
            raise

    def _take(self, piece: bytes) -> None:
        self.size += len(piece)
        if self.size > self._max_bytes:
            raise BlobTooLarge(self._max_bytes)
        self.digest.update(piece)


def _checked_tenant(tenant: str) -> str:
    if not _TENANT.fullmatch(tenant):
        raise ValueError("a tenant's name has letters, digits, - and _ only")
    return tenant


def _key(tenant: str, sha256: str) -> str:
    if not _SHA256.fullmatch(sha256):
        raise ValueError("a blob's name is a SHA-256 in lower-case hexadecimal digits")
    return f"{_checked_tenant(tenant)}/sha256/{sha256[:2]}/{sha256[2:4]}/{sha256}"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove_staged(folder: Path, before: datetime) -> int:
    """A local store stages a file beside its final name, with a `#`, and does not list it."""
    staged = [path for path in folder.glob("*#*") if path.stat().st_mtime < before.timestamp()]
    for path in staged:
        path.unlink(missing_ok=True)
    return len(staged)
