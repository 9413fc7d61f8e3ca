"""Claims and counters are derived from the log: verified, and rebuilt."""

from dataclasses import replace

import psycopg
import pytest

from eventstore.append import Appender
from eventstore.claims import Difference, rebuild_claims, verify_claims
from eventstore.records import Claims, Counter
from tests.builders.appends import append_of
from tests.builders.entries import created


@pytest.fixture
async def operator(settings):
    url = settings.role_url("varve_admin")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        yield connection


@pytest.fixture
async def history(appender: Appender):
    """Claims that are taken, released and taken over; counters that go up and down; in two tenants."""
    await appender.append(append_of({"a": [created()]}, claims=Claims(taken={"one": "a", "two": "a"})))
    await appender.append(
        append_of({"b": [created()]}, claims=Claims(taken={"three": "b", "one": "b"}, released=("one",)))
    )
    await appender.append(append_of({"a": [created()]}, after=1, claims=Claims(released=("two",))))
    await appender.append(append_of({"a": [created()]}, tenant="umbra", claims=Claims(taken={"one": "a"})))
    for stream, add in (("c", 3), ("d", -2), ("e", 4)):
        await appender.append(replace(append_of({stream: [created()]}), counters=(Counter("entries", add, 10),)))
    gone = append_of({"f": [created()]})
    await appender.append(replace(gone, counters=(Counter("gone", 0, 10),)))


@pytest.mark.usefixtures("history")
async def test_what_appends_have_left_is_what_the_log_says(operator, admin):
    assert await verify_claims(operator) == []
    cursor = await admin.execute("select tenant, claim, stream from varve.claims order by 1, 2")
    assert await cursor.fetchall() == [("acme", "one", "b"), ("acme", "three", "b"), ("umbra", "one", "a")]


DAMAGE = [
    ("delete from varve.claims where tenant = 'umbra'", Difference("claim", "umbra", "one", "a", None)),
    ("insert into varve.claims values ('acme', 'two', 'a')", Difference("claim", "acme", "two", None, "a")),
    ("update varve.claims set stream = 'x' where claim = 'three'", Difference("claim", "acme", "three", "b", "x")),
    ("update varve.counters set value = 9 where value = 5", Difference("counter", "acme", "entries", 5, 9)),
    ("delete from varve.counters", Difference("counter", "acme", "entries", 5, None)),
    ("insert into varve.counters values ('acme', 'more', 1, 1)", Difference("counter", "acme", "more", None, 1)),
]


@pytest.mark.usefixtures("history")
@pytest.mark.parametrize(("damage", "difference"), DAMAGE)
async def test_what_differs_from_the_log_is_named_and_put_right(operator, admin, damage, difference):
    await admin.execute(damage)
    assert await verify_claims(operator) == [difference]
    assert await rebuild_claims(operator) == [difference]
    assert await verify_claims(operator) == []


async def test_a_claim_from_before_events_told_of_them_stands_until_it_is_released(appender: Appender, operator, admin):
    await appender.append(append_of({"a": [created()]}))
    await admin.execute("insert into varve.claims values ('acme', 'old', 'a')")
    await admin.execute("insert into varve.claims_baseline values ('acme', 'old', 'a', 1)")
    assert await verify_claims(operator) == []
    await appender.append(append_of({"a": [created()]}, after=1, claims=Claims(released=("old",))))
    assert await verify_claims(operator) == []


async def test_the_word_in_the_text_of_an_event_is_not_taken_for_a_change(appender: Appender, operator, admin):
    await appender.append(append_of({"a": [created()]}, tenant='"changes":'))
    assert await verify_claims(operator) == []


@pytest.mark.parametrize("role", ["varve_writer", "varve_projector", "varve_reader"])
async def test_only_an_operator_can_put_claims_right(settings, role):
    async with await psycopg.AsyncConnection.connect(settings.role_url(role)) as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            await connection.execute("select varve.correct_claims('{}', '{}', '{}', '{}', '{}', '{}')")
