"""Reads a document in a process of its own, so that no file can take a worker down, hang it or learn its secrets."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import structlog

from workers.documents.document import ParsedDocument
from workers.documents.language import detect_language
from workers.documents.limits import ParserLimits
from workers.documents.parse import require_size
from workers.documents.parse_process import too_much_memory
from workers.documents.rejection import DocumentRejected, Reason
from workers.documents.wire import READY, Crash, ParseRequest, dump_request, load_answer

_log = structlog.get_logger()
_PARSE_PROCESS = ("-m", "workers.documents.parse_process")
_BYTES_PER_CHARACTER = 6  # JSON spells a control character with six; a character of any script takes four at most
_ANSWER_OVERHEAD = 64 * 1024 * 1024
_READ = 256 * 1024
_LONGEST_FILENAME = 1_000


class ParserUnavailable(Exception):
    """The parsing process could not start or not open the file: the machine's fault, so trying again makes sense."""


async def parse_isolated(
    path: Path,
    filename: str,
    declared_media_type: str,
    limits: ParserLimits,
    *,
    program: tuple[str, ...] = _PARSE_PROCESS,
) -> ParsedDocument:
    """Read the file at `path` in a fresh process within `limits`.

    Args:
        path: where the content lies.
        filename: as the user named it; it decides between kinds of text and gives the last choice of a title.
        declared_media_type: as the sender declared it; only used where the content leaves the type open.
        limits: how much the document may cost.
        program: the interpreter's arguments that start the process; tests give one that misbehaves.

    Raises:
        DocumentRejected: with the reason why it cannot be read; a crash of the parser is `corrupt`, one for want of
            memory `too_large`.
        ParserUnavailable: when the process could not begin.
    """
    location, size = await asyncio.to_thread(_locate, path)
    require_size(size, limits)
    request = dump_request(ParseRequest(location, filename[-_LONGEST_FILENAME:], declared_media_type, limits))
    process, answers = await _start(program, request)
    try:
        async with asyncio.timeout(limits.seconds), _reader(answers) as reader:
            output = await _collect(reader, limits)
            await process.wait()
    except TimeoutError:
        raise _took_too_long(limits) from None
    finally:
        await _end(process)
    # On a thread: the answer may have tens of megabytes, and the event loop has leases to renew.
    document = await asyncio.to_thread(_outcome, output, process.returncode, limits)
    return replace(document, language=await asyncio.to_thread(detect_language, document))


def _locate(path: Path) -> tuple[str, int]:
    """The process works in another folder, so it needs an absolute path."""
    return str(path.absolute()), path.stat().st_size


async def _start(program: tuple[str, ...], request: bytes) -> tuple[asyncio.subprocess.Process, int]:
    """Start the process with its request waiting; return it and the descriptor of its answers.

    The pipes are our own: asyncio's `wait` does not return while one of its pipes is full or held by another process.
    """
    question, ask = os.pipe()
    answers, answer = os.pipe()
    try:
        os.write(ask, request)  # shorter than a pipe's buffer, so that it cannot block
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-I",  # isolated: -P and no environment or user site
            *program,
            stdin=question,
            stdout=answer,
            stderr=asyncio.subprocess.DEVNULL,
            env={"LANG": "C.UTF-8"},
            cwd="/",
            start_new_session=True,
        )
    except BaseException:
        os.close(answers)
        raise
    finally:
        for descriptor in (question, ask, answer):
            os.close(descriptor)
    return process, answers


@asynccontextmanager
async def _reader(descriptor: int) -> AsyncIterator[asyncio.StreamReader]:
    reader = asyncio.StreamReader()
    file = os.fdopen(descriptor, "rb", buffering=0)
    protocol = asyncio.StreamReaderProtocol(reader)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, file)
    try:
        yield reader
    finally:
        transport.close()


async def _collect(reader: asyncio.StreamReader, limits: ParserLimits) -> bytes:
    """Read the answer, as far as an honest one can be long."""
    most = limits.max_text_characters * _BYTES_PER_CHARACTER + _ANSWER_OVERHEAD
    output = bytearray()
    while piece := await reader.read(_READ):
        output += piece
        if len(output) > most:
            raise _too_long_an_answer()
    return bytes(output)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill the whole group: a parser may have started others."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    await asyncio.shield(process.wait())


def _outcome(output: bytes, returncode: int | None, limits: ParserLimits) -> ParsedDocument:
    if not output.startswith(READY):
        raise ParserUnavailable(f"the parsing process ended with {returncode} before it began")
    if returncode == -signal.SIGXCPU:
        raise _took_too_long(limits)
    if returncode == -signal.SIGKILL:
        raise too_much_memory()
    try:
        answer = load_answer(output.removeprefix(READY))
    except ValueError:
        raise _crashed(f"exit {returncode}") from None
    match answer:
        case ParsedDocument():
            return answer
        case DocumentRejected():
            raise answer
        case Crash():
            raise _crashed(answer.where)


def _crashed(where: str) -> DocumentRejected:
    _log.warning("document.parser_crashed", where=where)
    sentence = "The document could not be read: its content is damaged or of a kind that the reader cannot cope with."
    return DocumentRejected(Reason.CORRUPT, sentence)


def _took_too_long(limits: ParserLimits) -> DocumentRejected:
    sentence = f"Reading the document took longer than {limits.seconds:g} seconds and was stopped."
    return DocumentRejected(Reason.TIMEOUT, sentence)


def _too_long_an_answer() -> DocumentRejected:
    sentence = "The document holds more text than is stored; please split it into parts."
    return DocumentRejected(Reason.TOO_LARGE, sentence)
