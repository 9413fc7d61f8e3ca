"""Texts are worked on in processes beside the worker: the same results, and what goes wrong is the text's own."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from domain.knowledge.content import DocumentContent
from domain.shared.terms import counted
from workers.documents.document import Block, BlockKind, Page, ParsedDocument
from workers.embedding.tokenizer import PatternTokenizer
from workers.passages import PassageCutter
from workers.text_analyzer import TextAnalyzer
from workers.texts import channel
from workers.texts.errors import (
    TextFailed,
    TextProcessDied,
    TextProcessUnavailable,
    TextTookTooLong,
    TextTooLarge,
)
from workers.texts.texts import Cutting, TextProcesses

CUTTER = PassageCutter(PatternTokenizer(), 256)
CLAY = "Fine clay settles under the ice, and coarse silt in summer. "
WRITTEN = (CLAY * 40, "冰下的细黏土。" * 300, "e\u0301😀\u200d" * 500)

QUICK = """
import os, signal, sys, time
from workers.texts import limits
limits._SECONDS = limits._SECONDS_PER_MEGABYTE = 0.2
from workers.texts import process, steps
from workers.texts.process import main
def misbehave(text):
    if "loop" in text:
        while True: pass
    if "sleep" in text: time.sleep(1000)
    if "exit" in text: os._exit(0)
    if "segfault" in text: os.kill(os.getpid(), signal.SIGSEGV)
    if "eat" in text: bytearray(10**10)
    if "raise" in text: raise KeyError(text)
    print("what a library prints")
def make(*config):
    known = dict(steps.steps(*config))
    cut = known["entry"]
    def entry(parts):
        misbehave(parts[0].decode()[:20])
        return cut(parts)
    return known | {"entry": entry}
main(make)
"""


@asynccontextmanager
async def processes(**options) -> AsyncIterator[TextProcesses]:
    texts = TextProcesses(CUTTER, TextAnalyzer(), Cutting("pattern", 256), **options)
    try:
        yield texts
    finally:
        await texts.close()


@pytest.fixture
async def texts() -> AsyncIterator[TextProcesses]:
    async with processes() as opened:
        yield opened


@pytest.fixture
async def quick(monkeypatch) -> AsyncIterator[TextProcesses]:
    """Processes that end soon, and misbehave when a name asks for it."""
    monkeypatch.setattr("workers.texts.limits._SECONDS", 0.5)
    monkeypatch.setattr("workers.texts.limits._SECONDS_PER_MEGABYTE", 0.5)
    async with processes(program=("-c", QUICK)) as opened:
        yield opened


def parsed(text: str) -> ParsedDocument:
    blocks = (Block(BlockKind.HEADING, 0, 9, 1, "Fine clay"), Block(BlockKind.PARAGRAPH, 9, len(text)))
    return ParsedDocument("Varves", None, "text/plain", text, blocks, (Page(1, 0, len(text)),))


def is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


async def until_ended(pid: int) -> None:
    async with asyncio.timeout(20):
        while is_running(pid):  # noqa: ASYNC110 - it is another process
            await asyncio.sleep(0.02)


async def test_what_comes_from_a_process_is_what_would_be_made_here(texts, tmp_path):
    for text in WRITTEN:
        assert await texts.passages("A name", text) == list(CUTTER.of_entry("A name", text))
        assert await texts.terms([text, "one more"]) == [
            counted(TextAnalyzer().terms(each)) for each in (text, "one more")
        ]
        stored, content = await stored_content(texts, text)
        passages = CUTTER.of_document(parsed(text), "A title")
        assert content == DocumentContent(text=text, passages=passages)
        assert stored == len(passages)
        (tmp_path / "content").write_text(content.model_dump_json(), encoding="utf-8")
        assert await texts.stored_passages(tmp_path / "content") == list(passages)
    assert len(texts.pids()) == 1


LEAVING = """
from workers.texts import process
process._MOST_KEPT_BYTES = 1
process.main()
"""


async def test_a_process_that_has_taken_much_memory_gives_way_to_another():
    async with processes(program=("-c", LEAVING)) as texts:
        written = [f"{number} {CLAY * 20}" for number in range(4)]
        found = await asyncio.gather(*(texts.passages("a name", text) for text in written))
        assert [list(each) for each in found] == [list(CUTTER.of_entry("a name", text)) for text in written]


@pytest.mark.parametrize("text", ["", "Fine clay.", CLAY * 400])
async def test_a_content_is_read_as_it_was_stored(texts, tmp_path, text):
    async def store(pieces: AsyncIterator[bytes]) -> None:
        with (tmp_path / "content").open("wb") as file:
            file.writelines([piece async for piece in pieces])

    document = ParsedDocument("Varves", None, "text/plain", text, (Block(BlockKind.PARAGRAPH, 0, len(text)),))
    _, passages = await texts.store_content(document, "A title", store)
    whole = DocumentContent.model_validate_json((tmp_path / "content").read_bytes())
    assert await texts.stored_passages(tmp_path / "content") == list(whole.passages)
    assert (whole.text, len(whole.passages)) == (text, passages)


async def stored_content(texts: TextProcesses, text: str) -> tuple[int, DocumentContent]:
    async def store(pieces: AsyncIterator[bytes]) -> bytes:
        return b"".join([piece async for piece in pieces])

    stored, passages = await texts.store_content(parsed(text), "A title", store)
    return passages, DocumentContent.model_validate_json(stored)


async def test_a_short_text_needs_no_process(texts):
    assert await texts.terms(["fine clay"]) == [counted(TextAnalyzer().terms("fine clay"))]
    assert texts.pids() == []


async def test_a_hundred_texts_at_once_come_each_with_its_own_answer(texts):
    written = [f"{number} {CLAY * (1 + number % 30)}" for number in range(100)]
    found = await asyncio.gather(*(texts.passages(f"name {number}", text) for number, text in enumerate(written)))
    assert [list(each) for each in found] == [
        list(CUTTER.of_entry(f"name {number}", text)) for number, text in enumerate(written)
    ]


async def test_short_texts_do_not_wait_for_a_long_one(texts):
    long = asyncio.create_task(texts.passages("long", CLAY * 8_000))
    await texts.passages("short", CLAY * 40)
    assert not long.done()
    assert len(await long) > 400
    assert len(texts.pids()) == 2


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("loop", TextTookTooLong),
        ("sleep", TextTookTooLong),
        ("exit", TextProcessDied),
        ("segfault", TextProcessDied),
        ("eat", TextTooLarge),
        ("raise", TextFailed),
    ],
)
async def test_a_text_that_ends_its_process_fails_and_no_other(quick, name, error):
    good = [quick.passages(f"good {number}", CLAY) for number in range(5)]
    first, bad, *others = await asyncio.gather(good[0], quick.passages(name, CLAY), *good[1:], return_exceptions=True)
    assert type(bad) is error
    assert first == list(CUTTER.of_entry("good 0", CLAY))
    assert others == [list(CUTTER.of_entry(f"good {number}", CLAY)) for number in range(1, 5)]
    assert await quick.passages("good", CLAY) == list(CUTTER.of_entry("good", CLAY))


async def test_a_text_that_took_too_long_is_known_for_a_while(quick):
    for _ in range(2):
        with pytest.raises(TextTookTooLong):
            await quick.passages("loop", CLAY)
        pids = quick.pids()
    assert pids == []  # none was started for the second time


async def test_a_process_that_is_killed_meanwhile_costs_no_text_its_answer(texts):
    asked = asyncio.create_task(texts.passages("long", CLAY * 8_000))
    async with asyncio.timeout(30):
        while not texts.pids():  # noqa: ASYNC110 - it starts
            await asyncio.sleep(0.01)
    os.kill(texts.pids()[0], signal.SIGKILL)
    assert len(await asked) > 400


def status_of(pid: int, name: str) -> str:
    return Path(f"/proc/{pid}/{name}").read_text()


async def test_a_process_holds_neither_memory_nor_files_beyond_its_limits(texts):
    await texts.passages("a name", CLAY * 40)
    (pid,) = texts.pids()
    limits = {line[:25].strip(): line[25:].split()[0] for line in status_of(pid, "limits").splitlines()}
    assert limits["Max address space"] == str(1024**3)
    assert limits["Max file size"] == "0"
    assert int(status_of(pid, "oom_score_adj")) == 900
    assert "VARVE" not in status_of(pid, "environ")


async def test_a_process_ends_with_its_worker(texts):
    await texts.passages("a name", CLAY * 40)
    (pid,) = texts.pids()
    await texts.close()
    await until_ended(pid)
    with pytest.raises(TextProcessUnavailable):
        await texts.passages("a name", CLAY * 40)


async def test_a_process_without_work_ends():
    async with processes(idle_seconds=0.1) as texts:
        await texts.passages("a name", CLAY * 40)
        (pid,) = texts.pids()
        await until_ended(pid)
        assert await texts.passages("a name", CLAY * 40) == list(CUTTER.of_entry("a name", CLAY * 40))


async def test_a_text_that_comes_while_the_process_is_ended_for_want_of_work_is_cut(monkeypatch):
    async with processes(idle_seconds=0.1) as texts:
        await texts.passages("a name", CLAY * 40)
        is_ending, may_end = asyncio.Event(), asyncio.Event()
        end = channel._Process.end

        async def slow_end(process) -> None:
            is_ending.set()
            await may_end.wait()
            await end(process)

        monkeypatch.setattr(channel._Process, "end", slow_end)
        await is_ending.wait()
        cutting = asyncio.create_task(texts.passages("a name", CLAY * 40))
        await asyncio.sleep(0)
        may_end.set()
        async with asyncio.timeout(60):
            assert await cutting == list(CUTTER.of_entry("a name", CLAY * 40))


async def test_one_that_does_not_start_is_the_machines_fault():
    async with processes(program=("-c", "raise SystemExit(1)")) as texts:
        with pytest.raises(TextProcessUnavailable):
            await texts.passages("a name", CLAY * 40)


PARENT = """
import asyncio, sys
from tests.workers.texts.test_texts import CLAY, processes
async def main():
    async with processes() as texts:
        await texts.passages("a name", CLAY * 40)
        working = asyncio.create_task(texts.passages("long", CLAY * 160_000))
        while len(texts.pids()) < 2:
            await asyncio.sleep(0.01)
        print(*texts.pids(), flush=True)
        await working
asyncio.run(main())
"""


async def test_no_process_outlives_a_worker_that_is_killed():
    worker = subprocess.Popen(  # noqa: ASYNC220 - it is killed
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True
    )
    try:
        assert worker.stdout is not None
        lines = (await asyncio.to_thread(worker.stdout.readline)).splitlines()
        while "pid=" in lines[-1]:  # what the log says first
            lines = (await asyncio.to_thread(worker.stdout.readline)).splitlines()
        pids = [int(pid) for pid in lines[-1].split()]
    finally:
        worker.kill()
        worker.wait()
    assert len(pids) == 2
    for pid in pids:
        await until_ended(pid)


async def test_an_answer_that_nobody_waits_for_holds_up_no_other(texts):
    async with asyncio.timeout(60):
        asked = asyncio.create_task(texts.passages("first", CLAY * 1500))
        await asyncio.sleep(0)
        asked.cancel()
        assert await texts.passages("second", CLAY * 40) == list(CUTTER.of_entry("second", CLAY * 40))


async def test_the_loop_goes_on_while_a_long_text_is_cut(texts):
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(0.001)
            longest = max(longest, loop.time() - before)

    ticking = asyncio.create_task(tick())
    passages = await texts.passages("long", CLAY * 8_000)
    ticking.cancel()
    assert len(passages) > 400
    assert longest < 0.5
