"""What is sent, sorted and held at once is bounded by bytes, whatever the rows are like."""

import asyncio
import random
from datetime import UTC, datetime
from uuid import UUID, uuid4

import orjson
import pytest

from commands.knowledge.create_entry import CreateKnowledgeEntries
from commands.knowledge.delete_entry import DeleteKnowledgeEntry
from eventstore.log_filter import DATA
from eventstore.records import RecordedEvent
from eventstore.thinning import Thinning, decoded_at_once
from projections import rows as rows_module
from projections.definition import BatchTooLargeError
from projections.filling import FillRoom
from projections.knowledge.entry_list import KnowledgeEntryListView
from projections.rows import KeyedRows, many_in_order, write_rows
from projections.slices import MOST_BYTES, in_turns, sliced, sorted_in_turns
from tests.builders import actors
from tests.builders.entries import created, new_entry
from tests.projections.engines import engine_of, until_caught_up
from tests.projections.sending import send

WIDE = 100_000


class Statements:
    """A connection that keeps what it is sent."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    async def execute(self, statement: str, parameters: tuple[str]) -> None:
        self.sent.append(parameters[0])


def row_of(data: bytes) -> tuple[object, ...]:
    return tuple(data if column == DATA else None for column in range(11))


def recorded(number: int, description: str) -> RecordedEvent:
    event = created(UUID(int=number), description=description)
    return RecordedEvent("acme", number, f"entry-{UUID(int=number)}", 1, event, b"{}", datetime.now(UTC))


async def test_no_statement_has_more_than_its_bytes_unless_one_row_does():
    connection = Statements()
    written = [{"number": number, "text": "x" * (WIDE if number % 3 else 10)} for number in range(50)]
    written.append({"number": 50, "text": "x" * (MOST_BYTES + 1)})
    await write_rows(connection, "t", ("number", "text"), written)
    assert [row for document in connection.sent for row in orjson.loads(document)] == written
    assert max(len(document) for document in connection.sent[:-1]) <= MOST_BYTES + 100
    assert 5 < len(connection.sent) < 15


async def test_the_loop_goes_on_between_slices():
    turns = []

    async def other() -> None:
        while True:
            turns.append(len(done))
            await asyncio.sleep(0)

    done: list[list[int]] = []
    task = asyncio.create_task(other())
    async for some in in_turns(sliced(range(10), lambda _: 1, most_bytes=3)):
        done.append(some)  # noqa: PERF401 - it is looked at meanwhile
    task.cancel()
    assert done == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [9]]
    assert {1, 2, 3} <= set(turns)


async def test_many_are_sorted_as_few_are():
    chosen = random.Random(16)  # noqa: S311 - numbers, not secrets
    numbers = [chosen.randrange(1_000) for _ in range(12_345)]
    assert await sorted_in_turns(numbers) == sorted(numbers)
    assert await sorted_in_turns(numbers, key=lambda each: -each) == sorted(numbers, key=lambda each: -each)
    keys = [("acme", uuid4()) for _ in range(6_000)]
    assert await many_in_order(keys) == sorted(keys)


def test_rows_of_the_log_are_decoded_some_at_a_time():
    rows = [row_of(b"x" * (400_000 if number < 5 else 1)) for number in range(2_500)]
    pieces = [len(piece) for piece in decoded_at_once(rows)]
    assert pieces == [2, 2, 1_000, 1_000, 496]


async def test_a_fill_ends_at_so_many_bytes_of_wide_rows_and_of_narrow_ones():
    for description, rows in (
        ("x" * WIDE, range(80, 121)),
        ("x" * 30_000 + "冰😀", range(60, 211)),
        ("", range(3_000, 20_000)),
    ):
        bulk = KnowledgeEntryListView().bulk()
        room = FillRoom(bulk, Thinning({}, (), list), most_octets=12_000_000)
        for number in range(20_000):
            bulk.add([recorded(number, description + str(number))])
            data = orjson.dumps(description + " " * 300)
            if await room.is_used_up_by([row_of(data)]):
                break
        assert bulk.size in rows
        assert await bulk.octets() < 32_000_000  # what was checked as UTF-8 keeps that form, too


async def test_rows_that_are_replaced_take_no_room():
    bulk = KnowledgeEntryListView().bulk()
    room = FillRoom(bulk, Thinning({}, (), list), most_octets=3_000_000)
    for number in range(200):
        bulk.add([recorded(1, "x" * WIDE + str(number))])
        assert not await room.is_used_up_by([row_of(b"x" * WIDE)])
    assert await bulk.octets() < 2 * WIDE


async def test_what_is_held_back_takes_room():
    held = Thinning({"topic": 1}, (), list)
    rows = [
        ("acme", number, f"stream {number}", 1, "topic", 1, b"x" * WIDE, b"", None, None, None) for number in range(30)
    ]
    held.events(rows)
    assert held.octets == 30 * WIDE
    room = FillRoom(KnowledgeEntryListView().bulk(), held, most_octets=3_000_000)
    assert await room.is_used_up_by(rows)


async def test_a_batch_that_would_load_too_much_is_halved(settings, platform, admin, monkeypatch):
    monkeypatch.setattr(rows_module, "_MOST_LOADED_BYTES", 5 * WIDE)
    refused = []
    load = KeyedRows.load

    async def told(self, connection, table, keys):
        try:
            return await load(self, connection, table, keys)
        except BatchTooLargeError:
            refused.append(len(set(keys)))
            raise

    monkeypatch.setattr(KeyedRows, "load", told)
    entries = tuple(new_entry(name=f"entry {number}", description="x" * WIDE) for number in range(20))
    async with engine_of(settings, [KnowledgeEntryListView()]):
        await send(platform, CreateKnowledgeEntries(entries=entries), actors.ANN)
        await until_caught_up(admin, [KnowledgeEntryListView.NAME])
    cursor = await admin.execute("select entry_id from read_models.knowledge_entry_list_1_entries")
    for (entry_id,) in await cursor.fetchall():
        await send(platform, DeleteKnowledgeEntry(entry_id=entry_id), actors.ANN)
    async with engine_of(settings, [KnowledgeEntryListView()]):
        await until_caught_up(admin, [KnowledgeEntryListView.NAME])
    cursor = await admin.execute(
        "select count(*), count(*) filter (where is_active) from read_models.knowledge_entry_list_1_entries"
    )
    assert await cursor.fetchone() == (20, 0)
    assert refused
    assert min(refused) > 4


@pytest.mark.parametrize("size", [0, 1])
def test_one_item_always_fits(size):
    assert list(sliced(["x" * 10], len, most_bytes=size)) == [["x" * 10]]
