"""The blob store on a real folder: whole or absent, the same content once, no tenant near another's."""

import asyncio
import hashlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from obstore.store import LocalStore, MemoryStore

from workers.blobs import BlobCorrupt, BlobNotFound, Blobs, BlobTooLarge

MEBIBYTE = 1024 * 1024
ABSENT = "0" * 64


@pytest.fixture(params=["a folder", "memory"])
def blobs(request, tmp_path):
    return Blobs(LocalStore(tmp_path) if request.param == "a folder" else MemoryStore())


@pytest.fixture
def local(tmp_path):
    return Blobs(LocalStore(tmp_path))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


async def pieces(*contents: bytes) -> AsyncIterator[bytes]:
    for content in contents:
        yield content


async def test_what_is_put_comes_back_under_the_hash_of_its_content(blobs):
    content = os.urandom(12 * MEBIBYTE)
    stored = await blobs.put_stream(
        "acme", pieces(content[:100], content[100 : 7 * MEBIBYTE], content[7 * MEBIBYTE :]), 2**30
    )
    assert (stored.sha256, stored.size) == (hashlib.sha256(content).hexdigest(), len(content))
    assert await blobs.get_bytes("acme", stored.sha256) == content


async def test_a_blob_of_no_bytes_is_one(blobs):
    stored = await blobs.put_bytes("acme", b"", 10)
    assert stored.size == 0
    assert await blobs.get_bytes("acme", stored.sha256) == b""


async def test_the_same_content_is_stored_once(local, tmp_path):
    first, second = await asyncio.gather(*(local.put_bytes("acme", b"content", 10) for _ in range(2)))
    assert first == second
    assert len(files(tmp_path)) == 1


async def test_the_key_has_the_tenant_first(local, tmp_path):
    sha256 = (await local.put_bytes("acme", b"content", 10)).sha256
    assert files(tmp_path) == [tmp_path / "acme" / "sha256" / sha256[:2] / sha256[2:4] / sha256]


async def test_a_tenant_does_not_see_another_s_blob(blobs):
    sha256 = (await blobs.put_bytes("acme", b"content", 10)).sha256
    assert await blobs.get_bytes("acme", sha256) == b"content"
    with pytest.raises(BlobNotFound):
        await blobs.get_bytes("other", sha256)


@pytest.mark.parametrize("tenant", ["", ".", "..", "../acme", "a/b", "a\\b", "/etc", "a\x00", "a b", "é", "a" * 200])
async def test_a_name_that_is_no_tenant_s_is_refused(local, tmp_path, tenant):
    with pytest.raises(ValueError, match="letters"):
        await local.put_bytes(tenant, b"content", 10)
    assert files(tmp_path) == []


@pytest.mark.parametrize("sha256", ["", "..", "../../x", "A" * 64, "0" * 63, "0" * 64 + "/"])
async def test_a_name_that_is_no_hash_is_refused(blobs, sha256):
    with pytest.raises(ValueError, match="SHA-256"):
        await blobs.get_bytes("acme", sha256)


async def test_too_much_content_is_refused_as_soon_as_it_has_come(local, tmp_path):
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += MEBIBYTE
            yield bytes(MEBIBYTE)

    with pytest.raises(BlobTooLarge) as caught:
        await local.put_stream("acme", endless(), 20 * MEBIBYTE)
    assert caught.value.max_bytes == 20 * MEBIBYTE
    assert sent <= 22 * MEBIBYTE
    assert files(tmp_path) == []


async def test_content_of_exactly_the_limit_is_stored(blobs):
    assert (await blobs.put_bytes("acme", b"12345", 5)).size == 5


async def test_a_sender_that_fails_leaves_nothing_and_its_error_comes_through(local, tmp_path):
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(6 * MEBIBYTE)
        raise ConnectionResetError("the client is gone")

    with pytest.raises(ConnectionResetError, match="the client is gone"):
        await local.put_stream("acme", broken(), 2**30)
    assert files(tmp_path) == []


async def test_a_cancelled_upload_leaves_nothing(local, tmp_path):
    waiting = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield bytes(6 * MEBIBYTE)
        waiting.set()
        await asyncio.Event().wait()

    upload = asyncio.create_task(local.put_stream("acme", stalled(), 2**30))
    await waiting.wait()
    upload.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upload
    async with asyncio.timeout(10):
        while files(tmp_path):  # noqa: ASYNC110 - the store removes what it had begun on a thread of its own
            await asyncio.sleep(0.01)


async def test_a_process_that_dies_in_an_upload_leaves_no_blob_and_what_it_leaves_is_removed(local, tmp_path):
    program = (
        "import asyncio, os, sys\nfrom obstore.store import LocalStore\nfrom workers.blobs import Blobs\n"
        "async def dying():\n    for _ in range(12):\n        yield bytes(1024 * 1024)\n"
        "        await asyncio.sleep(0.01)\n    os._exit(9)\n"
        "asyncio.run(Blobs(LocalStore(sys.argv[1])).put_stream('acme', dying(), 2**30))"
    )
    command = [sys.executable, "-I", "-c", program, str(tmp_path)]
    died = await asyncio.to_thread(subprocess.run, command, timeout=30, check=False)
    assert died.returncode == 9
    assert [path for path in files(tmp_path) if "sha256" in path.parts] == []
    assert files(tmp_path) != []
    assert await local.remove_abandoned("acme") == 0
    assert await local.remove_abandoned("acme", now=datetime.now(UTC) + timedelta(days=2)) >= 1
    assert files(tmp_path) == []


async def test_changed_bytes_are_found_when_they_are_read(local, tmp_path):
    sha256 = (await local.put_bytes("acme", b"content", 10)).sha256
    files(tmp_path)[0].write_bytes(b"c0ntent")
    with pytest.raises(BlobCorrupt):
        await local.get_bytes("acme", sha256)
    with pytest.raises(BlobCorrupt):
        async with local.local_path("acme", sha256):
            pytest.fail("a changed file was lent")


async def test_a_blob_that_never_was_is_not_found(blobs):
    with pytest.raises(BlobNotFound):
        async with blobs.local_path("acme", ABSENT):
            pytest.fail("a file that is not there was lent")


async def test_a_path_is_lent_to_the_content_wherever_it_is_stored(blobs):
    sha256 = (await blobs.put_bytes("acme", b"content", 10)).sha256
    async with blobs.local_path("acme", sha256) as path:
        assert path.read_bytes() == b"content"


async def test_a_folder_lends_its_own_file_and_keeps_it(local, tmp_path):
    sha256 = (await local.put_bytes("acme", b"content", 10)).sha256
    async with local.local_path("acme", sha256) as path:
        assert path.is_relative_to(tmp_path)
    assert path.exists()


async def test_a_large_blob_streams_in_pieces(local):
    stored = await local.put_bytes("acme", os.urandom(20 * MEBIBYTE), 2**30)
    sizes = [len(piece) async for piece in local.stream("acme", stored.sha256)]
    assert sum(sizes) == stored.size
    assert max(sizes) < 16 * MEBIBYTE
