"""The parsing process: what goes wrong in it is an outcome, and it never outlives its limits."""

import asyncio
import os
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from tests.workers.documents.samples import docx_file, page, pdf, with_body
from workers.documents.isolation import ParserUnavailable, parse_isolated
from workers.documents.language import detect_language
from workers.documents.limits import ParserLimits
from workers.documents.parse import extract
from workers.documents.rejection import DocumentRejected, Reason

WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def misbehaving(body: str) -> tuple[str, ...]:
    """The parsing process with another parse function."""
    return ("-c", f"import os, sys, time\nfrom workers.documents.parse_process import main\n{body}\nmain(extract)")


def marked(mark: str) -> list[int]:
    """The living processes that were started with these words."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            if mark.encode() in (folder / "cmdline").read_bytes():  # a zombie's is empty
                found.append(int(folder.name))
    return found


@pytest.fixture
def written(tmp_path):
    def write(content: bytes) -> Path:
        path = tmp_path / "content"
        path.write_bytes(content)
        return path

    return write


async def rejection(path: Path, filename: str, limits: ParserLimits, **options: tuple[str, ...]) -> DocumentRejected:
    with pytest.raises(DocumentRejected) as caught:
        await parse_isolated(path, filename, "", limits, **options)
    return caught.value


@pytest.mark.parametrize(
    ("content", "filename"),
    [
        (pdf([page((72, 700, 12, "The first page.")), page((72, 700, 12, "The second."))], title="Two pages"), "a.pdf"),
        (docx_file(("Heading 1", "A heading"), "Some text in a paragraph."), "a.docx"),
        ("# 标题\n\n段落里有中文。😀\n".encode(), "a.md"),
        (b"<html lang=en><h1>Heading</h1><p>Text &amp; more", "a.html"),
        (("纯文本。" * 20 + "\x00 \ud800").encode("utf-8", "surrogatepass"), "a.txt"),
    ],
)
async def test_the_process_gives_the_same_document_as_the_parser_itself(written, content, filename):
    isolated = await parse_isolated(written(content), filename, "", ParserLimits())
    read = extract(content, filename, "", ParserLimits())
    assert isolated == replace(read, language=detect_language(read))


async def test_a_rejection_comes_through_the_process(written):
    assert (await rejection(written(b"%PDF-1.4 half"), "a.pdf", ParserLimits())).reason is Reason.CORRUPT


async def test_a_document_that_takes_too_long_is_stopped(written):
    limits = ParserLimits(seconds=1)
    started = time.monotonic()
    program = misbehaving("def extract(*_):\n    while True:\n        pass")
    refused = await rejection(written(b"x"), "a.txt", limits, program=program)
    assert refused.reason is Reason.TIMEOUT
    assert time.monotonic() - started < 5


async def test_a_process_that_sleeps_is_stopped_with_all_that_it_started(written, tmp_path):
    mark = f"mark-{tmp_path.name}-{os.getpid()}"
    body = f"def extract(*_):\n    os.fork()\n    time.sleep(60)  # {mark}"
    refused = await rejection(written(b"x"), "a.txt", ParserLimits(seconds=1), program=misbehaving(body))
    assert refused.reason is Reason.TIMEOUT
    await asyncio.sleep(0.2)
    assert marked(mark) == []


async def test_a_document_that_needs_too_much_memory_is_too_large(written):
    paragraph = b"<w:p><w:r><w:t>x</w:t></w:r></w:p>"
    body = b'<w:document xmlns:w="%s"><w:body>%s</w:body></w:document>' % (WORD.encode(), paragraph * 1_500_000)
    limits = ParserLimits(memory_bytes=400 * 1024 * 1024, max_compression_ratio=10**6)
    refused = await rejection(written(with_body(docx_file("x"), body)), "a.docx", limits)
    assert refused.reason is Reason.TOO_LARGE


async def test_a_parser_that_takes_all_memory_is_told_that_it_is_too_large(written):
    body = "def extract(*_):\n    return [bytes(10_000_000) for _ in range(10_000)]"
    refused = await rejection(written(b"x"), "a.txt", ParserLimits(), program=misbehaving(body))
    assert refused.reason is Reason.TOO_LARGE


async def test_a_worker_that_gives_up_leaves_no_process_behind(written, tmp_path):
    mark = f"mark-{tmp_path.name}-{os.getpid()}"
    program = misbehaving(f"def extract(*_):\n    time.sleep(60)  # {mark}")
    parsing = asyncio.create_task(parse_isolated(written(b"x"), "a.txt", "", ParserLimits(), program=program))
    await asyncio.sleep(1)
    assert marked(mark) != []
    parsing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await parsing
    assert marked(mark) == []


@pytest.mark.parametrize(
    "crash",
    [
        "os.abort()",
        "os._exit(3)",
        "os.kill(os.getpid(), 11)",
        "[][0]",
        "(lambda f: f(f))(lambda f: f(f))",
        "sys.exit()",
    ],
)
async def test_a_parser_that_crashes_makes_the_document_corrupt(written, crash):
    body = f"def extract(*_):\n    {crash}"
    refused = await rejection(written(b"x"), "a.txt", ParserLimits(), program=misbehaving(body))
    assert refused.reason is Reason.CORRUPT


async def test_an_answer_longer_than_an_honest_one_is_cut_off(written):
    program = (
        "-c",
        "import sys\nsys.stdout.buffer.write(b'ready\\n')\nwhile True: sys.stdout.buffer.write(b'x' * 1_000_000)",
    )
    refused = await rejection(written(b"x"), "a.txt", ParserLimits(max_text_characters=10), program=program)
    assert refused.reason is Reason.TOO_LARGE


async def test_what_a_parser_prints_is_not_taken_for_its_answer(written):
    body = (
        "from workers.documents.parse import extract as real\n"
        "def extract(*arguments):\n    print('noise', flush=True)\n    return real(*arguments)"
    )
    document = await parse_isolated(written(b"text"), "a.txt", "", ParserLimits(), program=misbehaving(body))
    assert document.text == "text"


async def test_the_process_knows_no_environment_and_writes_no_file(written, tmp_path, monkeypatch):
    monkeypatch.setenv("VARVE_SECRET", "hunter2")
    target = tmp_path / "written"
    body = (
        "from workers.documents.parse import extract as real\n"
        "def extract(content, *rest):\n"
        f"    file = os.open({str(target)!r}, os.O_CREAT | os.O_WRONLY)\n"
        "    try:\n        os.write(file, b'x' * 100)\n"
        "    except OSError:\n        content = ' '.join(sorted(os.environ)).encode()\n"
        "    return real(content, *rest)"
    )
    body = "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n" + body
    document = await parse_isolated(written(b"x"), "a.txt", "", ParserLimits(), program=misbehaving(body))
    assert "SECRET" not in document.text
    assert "LANG" in document.text
    assert target.stat().st_size == 0


async def test_a_process_that_cannot_start_is_the_machine_s_fault_and_not_the_document_s(written):
    with pytest.raises(ParserUnavailable):
        await parse_isolated(written(b"x"), "a.txt", "", ParserLimits(), program=("-c", "raise SystemExit(1)"))


async def test_a_file_that_is_not_there_is_the_caller_s_mistake(tmp_path):
    with pytest.raises(FileNotFoundError):
        await parse_isolated(tmp_path / "missing", "a.txt", "", ParserLimits())


async def test_a_file_that_is_too_large_is_refused_without_a_process(written):
    program = (os.devnull,)
    refused = await rejection(written(b"12345"), "a.txt", ParserLimits(max_bytes=4), program=program)
    assert refused.reason is Reason.TOO_LARGE
