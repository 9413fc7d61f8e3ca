"""The process that reads one document: limits itself, parses, writes one answer and ends."""

import os
import resource
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from workers.documents.document import ParsedDocument
from workers.documents.limits import ParserLimits
from workers.documents.parse import extract
from workers.documents.rejection import DocumentRejected, Reason
from workers.documents.wire import READY, Crash, dump_answer, load_request
from workers.process_limits import die_with

Extract = Callable[[bytes, str, str, ParserLimits], ParsedDocument]
_OPEN_FILES = 32
_FRAMES = 3


def main(extract: Extract = extract) -> None:
    """Read a request from standard input and write the answer to standard output.

    Args:
        extract: what reads the document; tests give one that misbehaves.
    """
    answers = _take_standard_output()
    request = load_request(sys.stdin.buffer.read())
    with Path(request.path).open("rb") as file:
        _limit(request.limits)
        answers.write(READY)
        answers.flush()
        content = file.read(request.limits.max_bytes + 1)
    answers.write(_answer(extract, content, request.filename, request.declared_media_type, request.limits))
    answers.flush()
    os._exit(0)  # nothing to tidy up: freeing a large document's tree takes longer than leaving it


def _take_standard_output() -> BinaryIO:
    """A library that prints must not write into the answer."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def _limit(limits: ParserLimits) -> None:
    die_with(os.getppid(), signal.SIGKILL)
    seconds = max(1, round(limits.seconds))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_OPEN_FILES, _OPEN_FILES))


def _answer(extract: Extract, content: bytes, filename: str, declared: str, limits: ParserLimits) -> bytes:
    try:
        return dump_answer(extract(content, filename, declared, limits))
    except DocumentRejected as rejection:
        return dump_answer(rejection)
    except MemoryError:
        return dump_answer(too_much_memory())
    except Exception as error:  # noqa: BLE001 - whatever a parser raises on bad input is an outcome, told to the parent
        return dump_answer(Crash(_where(error)))


def too_much_memory() -> DocumentRejected:
    """The rejection of a document that needs more memory than it may have."""
    sentence = "Reading the document takes more memory than is allowed; please split it into parts."
    return DocumentRejected(Reason.TOO_LARGE, sentence)


def _where(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return f"{type(error).__name__} at {places}"


if __name__ == "__main__":
    main()
