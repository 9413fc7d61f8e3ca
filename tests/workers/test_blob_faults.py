"""What goes wrong in the blob store has one meaning each; raised by a real file system wherever one can be made to."""

import inspect
import os
import resource
import signal
import subprocess
from pathlib import Path

import pytest
from obstore import exceptions
from obstore.store import LocalStore

from eventstore.sqlstates import Meaning
from workers.blob_faults import CLASSES, BlobStoreFault, fault_of_blob_store
from workers.blobs import BlobNotFound, Blobs

NOBODY = "0" * 64


def blobs_in(folder: Path) -> Blobs:
    return Blobs(LocalStore(str(folder), mkdir=True))


async def failed_put(blobs: Blobs, size: int) -> tuple[str, Meaning]:
    with pytest.raises(BlobStoreFault) as raised:
        await blobs.put_bytes("acme", os.urandom(size), 10**9)
    return raised.value.fault.kind, raised.value.fault.meaning


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 256 KB."""
    if os.getuid() != 0:
        pytest.skip("only root mounts file systems")
    folder = tmp_path / "small"
    folder.mkdir()
    options = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if subprocess.run(options, check=False, capture_output=True).returncode:
        pytest.skip("this machine does not let file systems be mounted")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def make_read_only(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)


async def test_a_full_disk_is_the_operators_to_mend_and_leaves_nothing_behind(small_disk: Path):
    blobs = blobs_in(small_disk)
    kept = await blobs.put_bytes("acme", b"small", 10**9)
    assert await failed_put(blobs, 2_000_000) == ("disk_full", Meaning.OPERATOR)
    assert await blobs.get_bytes("acme", kept.sha256) == b"small"
    again = await blobs.put_bytes("acme", b"as small", 10**9)
    assert await blobs.get_bytes("acme", again.sha256) == b"as small"


async def test_a_read_only_disk_is_the_operators_to_mend(small_disk: Path):
    blobs = blobs_in(small_disk)
    make_read_only(small_disk)
    assert await failed_put(blobs, 10) == ("read_only", Meaning.OPERATOR)


async def test_a_limit_of_the_files_length_is_the_operators_to_mend(tmp_path: Path):
    blobs = blobs_in(tmp_path)
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    try:
        found = await failed_put(blobs, 200_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)
    assert found == ("file_too_large", Meaning.OPERATOR)


async def test_a_store_that_is_gone_is_not_taken_for_a_missing_blob(tmp_path: Path):
    blobs = blobs_in(tmp_path / "store")
    with pytest.raises(BlobNotFound):
        await blobs.get_bytes("acme", NOBODY)
    (tmp_path / "store").rmdir()
    with pytest.raises(BlobStoreFault) as raised:
        await blobs.get_bytes("acme", NOBODY)
    assert (raised.value.fault.kind, raised.value.fault.meaning) == ("store_missing", Meaning.OPERATOR)


async def test_a_file_in_the_place_of_a_folder_is_the_operators_to_mend(tmp_path: Path):
    (tmp_path / "acme").write_text("x")
    assert await failed_put(blobs_in(tmp_path), 10) == ("store_missing", Meaning.OPERATOR)


def test_each_class_of_the_binding_has_one_meaning():
    known = {
        found
        for _, found in inspect.getmembers(exceptions, inspect.isclass)
        if issubclass(found, exceptions.BaseError) and found is not exceptions.BaseError
    }
    assert known == CLASSES.keys()


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Unable to copy data to file: Disk quota exceeded (os error 122)", "quota_exceeded"),
        ("Unable to copy data to file: Input/output error (os error 5)", "io_error"),
        ("Unable to open file: Permission denied (os error 13)", "permission_denied"),
        ("Unable to open file: Too many open files (os error 24)", "too_many_files"),
    ],
)
def test_what_no_disk_here_can_be_made_to_say(text, kind):
    fault = fault_of_blob_store(exceptions.GenericError(f"Generic LocalFileSystem error: {text}"))
    assert (fault.kind, fault.meaning) == (kind, Meaning.OPERATOR)


def test_a_store_behind_http_that_does_not_answer_is_asked_again():
    fault = fault_of_blob_store(exceptions.GenericError("Generic S3 error: error sending request"))
    assert (fault.kind, fault.meaning) == ("away", Meaning.PASSING)
