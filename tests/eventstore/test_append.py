import pytest
from psycopg.rows import namedtuple_row

from eventstore.append import Appender
from eventstore.errors import StreamConflict
from eventstore.records import Claims
from tests.builders.appends import CORRELATION_ID, append_of, key
from tests.builders.entries import created, deleted
from tests.eventstore.append_contract import AppendContract


@pytest.fixture
def stored(admin):
    async def rows():
        cursor = await admin.execute("select tenant, position, stream, version, topic from varve.events order by 2")
        return await cursor.fetchall()

    return rows


@pytest.fixture
def audit(admin):
    async def rows():
        cursor = admin.cursor(row_factory=namedtuple_row)
        await cursor.execute("select * from varve.commands order by executed_at, position")
        return await cursor.fetchall()

    return rows


class TestAppender(AppendContract):
    """The async appender over the database's function."""


class TestAuditRows:
    async def test_an_accepted_command_leaves_one(self, appender: Appender, audit):
        appended = await appender.append(append_of())
        (row,) = await audit()
        assert (row.tenant, row.user_id, row.command_type, row.status) == ("acme", "ann", "TestCommand", "accepted")
        assert (row.position, row.data, row.outcome, row.error) == (1, {"asked": "this"}, {"version": 1}, None)
        assert row.executed_at == appended.recorded_at

    @pytest.mark.parametrize("status", ["refused", "failed"])
    async def test_a_command_without_effect_leaves_one(self, appender: Appender, audit, status):
        await appender.append(append_of({}, status=status, error={"code": "X"}))
        (row,) = await audit()
        assert (row.status, row.error) == (status, {"code": "X"})

    async def test_a_conflict_leaves_none_because_it_is_decided_anew(self, appender: Appender, audit):
        await appender.append(append_of({"a": [created()]}))
        with pytest.raises(StreamConflict):
            await appender.append(append_of({"a": [created()]}))
        assert len(await audit()) == 1

    async def test_a_repetition_leaves_none(self, appender: Appender, audit):
        for _ in range(2):
            await appender.append(append_of({}, key=key()))
        assert len(await audit()) == 1


class TestStoredBytes:
    async def test_an_event_is_canonical_json(self, appender: Appender, admin):
        await appender.append(append_of({"a": [created(attributes={"ü": 1, "a": [None, 1.5]})]}))
        data, metadata = await (await admin.execute("select data, metadata from varve.events")).fetchone()
        assert data == (
            b'{"attributes":{"a":[null,1.5],"\xc3\xbc":1},"category":"geology","description":"A yearly layer.",'
            b'"entity_type":"note","entry_id":"0190a000-0000-7000-8000-000000000001","name":"Sediment","owner":"ann",'
            b'"tags":["clay","silt"],"visibility":"tenant"}'
        )
        assert f'"correlation_id":"{CORRELATION_ID}"'.encode() in metadata

    async def test_the_time_never_runs_against_the_position(self, appender: Appender, admin):
        await appender.append(append_of({"a": [created()]}))
        await admin.execute("set session_replication_role = replica")
        await admin.execute("update varve.events set recorded_at = recorded_at + interval '1 hour'")
        await appender.append(append_of({"a": [deleted()]}, after=1))
        times = [
            row[0]
            for row in await (await admin.execute("select recorded_at from varve.events order by position")).fetchall()
        ]
        assert times == sorted(times)

    @pytest.mark.parametrize("text", ["\U0001f9f1 🧱", "\u202e", "\ufffe\uffff", "a" * 1_000_000, "\x01\x7f\x80", ""])
    async def test_any_storable_text_comes_back_as_it_was(self, appender: Appender, admin, text):
        await appender.append(append_of({"a": [created(description=text)]}))
        (row,) = await (await admin.execute("select data->>'description' from varve.events_json")).fetchall()
        assert row == (text,)

    async def test_a_claim_holds_any_storable_text(self, appender: Appender, admin):
        await appender.append(append_of(claims=Claims(taken={"名前:🧱'\"\\,{}": "entry-1"})))
        assert await (await admin.execute("select claim from varve.claims")).fetchone() == ("名前:🧱'\"\\,{}",)

    @pytest.mark.parametrize("text", ["nul\x00", "lone \ud800 surrogate"])
    def test_what_postgresql_can_not_store_is_no_event(self, text):
        with pytest.raises(ValueError, match=r"NUL|surrogate|unicode"):
            created(name=text)
