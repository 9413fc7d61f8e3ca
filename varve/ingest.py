"""Uploads files and folders, skips what is there already, and reports what became of each file."""

import asyncio
import hashlib
import mimetypes
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from varve.client import ApiClient, ApiError

_AT_ONCE = 4
_MAX_WAITS = 40
_NOTHING = hashlib.sha256().hexdigest()

Outcome = Literal["processed", "failed", "already", "refused"]


@dataclass(frozen=True, slots=True)
class FileReport:
    """What became of one file.

    `reason` is a stable code: why processing failed, why the upload was refused, or, for a file that was there already,
    why its processing had failed then.
    """

    path: str
    outcome: Outcome
    reason: str | None = None
    message: str | None = None
    document_id: str | None = None
    characters: int | None = None
    chunks: int | None = None


def files_below(paths: Iterable[Path]) -> list[Path]:
    """Return the files named and those below the folders named, hidden ones left out, each once, sorted.

    Raises:
        FileNotFoundError: a path does not exist.
    """
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found.update(
                each
                for each in path.rglob("*")
                if each.is_file() and not any(part.startswith(".") for part in each.relative_to(path).parts)
            )
        elif path.is_file():
            found.add(path)
        else:
            raise FileNotFoundError(f"There is no file or folder {path}")
    return sorted(found)


async def ingest(client: ApiClient, files: Sequence[Path], on_report: Callable[[FileReport], None]) -> list[FileReport]:
    """Upload `files`, a few at a time, and wait until each is processed or has failed."""
    gate = asyncio.Semaphore(_AT_ONCE)

    async def one(path: Path) -> FileReport:
        async with gate:
            report = await _ingest_file(client, path)
        on_report(report)
        return report

    return await asyncio.gather(*(one(path) for path in files))


async def _ingest_file(client: ApiClient, path: Path) -> FileReport:
    sha256 = await asyncio.to_thread(_sha256, path)
    if sha256 == _NOTHING:
        return FileReport(str(path), "failed", "empty", "The file has no bytes.")
    known = (await client.get("/documents", sha256=sha256, limit=1))["items"]
    if known:
        return _report(path, known[0], "already")
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    try:
        with path.open("rb") as file:
            answer, position = await client.post("/documents", files={"file": (path.name, file, media_type)})
    except ApiError as error:
        outcome: Outcome = "already" if error.code == "document-already-uploaded" else "refused"
        return FileReport(str(path), outcome, error.code, str(error))
    return await _wait(client, path, answer["aggregate_id"], position)


async def _wait(client: ApiClient, path: Path, document_id: str, position: str) -> FileReport:
    for _ in range(_MAX_WAITS):
        document = await client.get(f"/documents/{document_id}", min_position=position, wait="processed")
        if document["status"] in {"processed", "failed"}:
            return _report(path, document, document["status"])
    return FileReport(str(path), "failed", "not_finished", "It is still being processed.", document_id)


def _report(path: Path, document: dict[str, Any], outcome: Outcome) -> FileReport:
    failure = document["failure"] or {}
    return FileReport(
        path=str(path),
        outcome=outcome,
        reason=failure.get("reason"),
        message=failure.get("message"),
        document_id=document["document_id"],
        characters=document["characters"],
        chunks=document["chunk_count"],
    )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
