"""A batch of 64 with one append in it that can't be stored: the 63 others are, and it alone is refused."""

import asyncio
import math
from collections.abc import Callable
from typing import Any

import pytest

from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.errors import EventStoreError, InvalidAppend, StreamConflict
from eventstore.prepare import PreparedAppend
from eventstore.records import Appended, Boundary, BoundaryItem, Claims, Counter, Tracked
from tests.builders.appends import key
from tests.builders.prepared import command, prepared, row, rows_of
from varve.settings import Settings

CALLERS = 64
LONG = "x" * 801
Poison = Callable[[], PreparedAppend]


def names_of(bad: str) -> dict[str, Poison]:
    """An append for each name that may hold `bad`."""
    return {
        "tenant": lambda: prepared(row(), tenant=bad),
        "stream": lambda: prepared(row(bad)),
        "topic": lambda: prepared(row(topic=bad)),
        "tag": lambda: prepared(row(tags=("good", bad))),
        "claim": lambda: prepared(row(), claims=Claims(taken={bad: "s"})),
        "holder of a claim": lambda: prepared(row(), claims=Claims(taken={"claim": bad})),
        "released claim": lambda: prepared(row(), claims=Claims(released=(bad,))),
        "counter": lambda: prepared(row(), counters=(Counter(bad, 1, 9),)),
        "expected stream": lambda: prepared(row(), expected=((bad, 0),)),
        "tracked application": lambda: prepared(row(), tracked=Tracked(bad, 1)),
        "topic of a boundary": lambda: prepared(row(), boundary=Boundary((BoundaryItem(topics=(bad,)),))),
        "tag of a boundary": lambda: prepared(row(), boundary=Boundary((BoundaryItem(tags=(bad,)),))),
        "command type": lambda: prepared(command=command(command_type=bad)),
        "aggregate": lambda: prepared(command=command(aggregate_id=bad)),
        "user": lambda: prepared(command=command(user=bad)),
        "actor of a key": lambda: prepared(command=command(key=key(actor=bad))),
        "key": lambda: prepared(command=command(key=key(bad))),
    }


def documents_of(bad: Any) -> dict[str, Poison]:
    """An append for each document that may hold `bad`."""
    return {
        "metadata": lambda: prepared(row(), metadata={"deep": [bad]}),
        "data of a command": lambda: prepared(command=command(data={"deep": {"deeper": bad}})),
        "metadata of a command": lambda: prepared(command=command(metadata={"bad": bad})),
        "outcome": lambda: prepared(command=command(outcome={"bad": bad})),
        "error": lambda: prepared(command=command(error={"bad": bad})),
    }


def numbers() -> dict[str, Poison]:
    boundary = Boundary((BoundaryItem(),), after=2**63)
    return {
        "version": lambda: prepared(row(version=2**31)),
        "negative version": lambda: prepared(row(version=-1)),
        "class version": lambda: prepared(row(class_version=2**15)),
        "class version zero": lambda: prepared(row(class_version=0)),
        "expected version": lambda: prepared(row(), expected=(("t", 2**31),)),
        "expected version below zero": lambda: prepared(row(), expected=(("t", -(2**31) - 1),)),
        "added to a counter": lambda: prepared(row(), counters=(Counter("c", 2**63, 9),)),
        "nothing to add": lambda: prepared(row(), counters=(Counter("c", math.nan, 9),)),  # type: ignore[arg-type]
        "half of one to add": lambda: prepared(row(), counters=(Counter("c", 0.5, 9),)),  # type: ignore[arg-type]
        "limit of a counter": lambda: prepared(row(), counters=(Counter("c", 1, 2**63),)),
        "limit without end": lambda: prepared(row(), counters=(Counter("c", 1, math.inf),)),  # type: ignore[arg-type]
        "tracked position": lambda: prepared(tracked=Tracked("upstream", 2**63)),
        "tracked position below zero": lambda: prepared(tracked=Tracked("upstream", -1)),
        "position of a boundary": lambda: prepared(row(), boundary=boundary),
        "seconds of a key": lambda: prepared(command=command(key=key(seconds=2**31))),
    }


def sizes() -> dict[str, Poison]:
    return {
        "20 MB in an event": lambda: prepared(row(data=bytes(20_000_000))),
        "20 MB in many events": lambda: prepared(*rows_of("s", 0, 1000, data=bytes(20_000))),
        "20 MB in a command": lambda: prepared(command=command(data={"text": "x" * 20_000_000})),
        "20 MB in a fingerprint": lambda: prepared(command=command(key=key(fingerprint=bytes(20_000_000)))),
        "too many events": lambda: prepared(*rows_of("s", 0, 5001)),
        "too many conditions": lambda: prepared(row(), expected=tuple((f"s{n}", 0) for n in range(20_001))),
    }


def nested(depth: int) -> list[Any]:
    document: list[Any] = []
    for _ in range(depth):
        document = [document]
    return document


POISONS = {
    **{f"NUL in a name: {name}": poison for name, poison in names_of("nul\0").items()},
    **{f"NUL in a document: {name}": poison for name, poison in documents_of("nul\0").items()},
    **{f"NUL in the key of a document: {name}": poison for name, poison in documents_of({"nul\0": 1}).items()},
    **{f"surrogate in a name: {name}": poison for name, poison in names_of("lone \ud800").items()},
    **{f"surrogate in a document: {name}": poison for name, poison in documents_of("lone \ud800").items()},
    **{f"long name: {name}": poison for name, poison in names_of(LONG).items()},
    **{f"long name in UTF-8: {name}": poison for name, poison in names_of("名" * 267).items()},
    **{f"huge number: {name}": poison for name, poison in (numbers() | documents_of(2**70)).items()},
    **{f"no number: {name}": poison for name, poison in documents_of(math.nan).items()},
    **{f"infinite number: {name}": poison for name, poison in documents_of([None, -math.inf]).items()},
    **{f"too deep: {name}": poison for name, poison in documents_of(nested(10_000)).items()},
    **{f"no JSON: {name}": poison for name, poison in documents_of(object()).items()},
    **{f"too large: {name}": poison for name, poison in sizes().items()},
    "a version without a stream": lambda: prepared(row()._replace(stream=None)),
    "a stream without a version": lambda: prepared(row()._replace(version=None)),
    "a counter named twice": lambda: prepared(row(), counters=(Counter("c", 1, 9), Counter("c", 1, 9))),
    "a claim without an event": lambda: prepared(claims=Claims(taken={"claim": "s"})),
}
CONFLICTING: dict[str, Poison] = {
    "the same version twice": lambda: prepared(row("s", 1), row("s", 1)),
    "the same version twice before a gap": lambda: prepared(row("s", 1), row("s", 1), row("s", 3)),
    "versions that fall": lambda: prepared(row("s", 2), row("s", 1)),
    "a gap between versions": lambda: prepared(row("s", 1), row("s", 3)),
    "a gap before the first version": lambda: prepared(row("s", 2)),
}


@pytest.fixture
async def appender(settings: Settings):
    async with open_batch_appender(settings.role_url("varve_writer")) as appender:
        yield appender


async def append_among_others(appender: BatchAppender, poison: Poison, name: str) -> BaseException | None:
    """Append with 63 others at once; return what the poisonous one raised when all others were stored."""

    async def one(number: int) -> Appended:
        good = prepared(row(f"{name} {number}", data=b"{}"), command=command() if number % 2 else None)
        return await appender.append(poison() if number == CALLERS // 3 else good)

    outcomes = await asyncio.gather(*(one(number) for number in range(CALLERS)), return_exceptions=True)
    refused = outcomes.pop(CALLERS // 3)
    assert [outcome for outcome in outcomes if isinstance(outcome, BaseException)] == []
    positions = sorted(outcome.position for outcome in outcomes if isinstance(outcome, Appended))
    assert positions == list(range(positions[0], positions[0] + CALLERS - 1))
    return refused if isinstance(refused, BaseException) else None


async def test_whatever_the_database_would_refuse_is_refused_before_it_is_sent(appender: BatchAppender):
    refused = {name: await append_among_others(appender, poison, name) for name, poison in POISONS.items()}
    assert {name: type(error) for name, error in refused.items()} == dict.fromkeys(POISONS, InvalidAppend)
    assert [name for name, error in refused.items() if not str(error)] == []


@pytest.mark.parametrize("poison", POISONS.values(), ids=POISONS)
def test_it_is_found_when_the_append_is_prepared(poison: Poison):
    with pytest.raises(InvalidAppend):
        poison()


async def test_versions_that_do_not_follow_on_conflict(appender: BatchAppender):
    refused = {name: await append_among_others(appender, poison, name) for name, poison in CONFLICTING.items()}
    assert {name: type(error) for name, error in refused.items()} == dict.fromkeys(CONFLICTING, StreamConflict)


async def test_what_can_just_be_stored_is(appender: BatchAppender, admin):
    longest = "名" * 266
    await appender.append(
        prepared(
            row(longest, topic=longest, class_version=2**15 - 1, tags=(longest,), data=bytes(15_000_000)),
            tenant=longest,
            claims=Claims(taken={longest: longest}),
            counters=(Counter(longest, 2**53, 2**53),),
            expected=(("t", 0),),
            tracked=Tracked(longest, 2**63 - 1),
            boundary=Boundary((BoundaryItem((longest,), (longest,)),), after=2**63 - 1),
            metadata={"deep": nested(200), "text": "\\u0000", "null": None},
            command=command(
                command_type=longest,
                aggregate_id=longest,
                user=longest,
                data={"text": "\\\\u0000", "deep": nested(200), "number": 2**63 - 1},
                key=key(longest, actor=longest, seconds=10 * 365 * 86_400),
            ),
        )
    )
    (row_,) = await (await admin.execute("select stream, octet_length(data) from varve.events")).fetchall()
    assert row_ == (longest, 15_000_000)


async def test_what_only_the_server_can_refuse_is_refused_alone(appender: BatchAppender, admin):
    await admin.execute("alter table varve.events add constraint no_evil check (topic <> 'evil')")
    refused = await append_among_others(appender, lambda: prepared(row(topic="evil")), "check")
    assert isinstance(refused, InvalidAppend)
    assert "no_evil" in str(refused)


async def test_what_was_overlooked_when_it_was_prepared_is_refused_alone(appender: BatchAppender):
    refused = await append_among_others(appender, lambda: prepared(row())._replace(parts=()), "half")
    assert isinstance(refused, InvalidAppend)


async def test_of_several_that_the_server_refuses_each_is_told_and_no_other(appender: BatchAppender, admin):
    await admin.execute("alter table varve.events add constraint no_evil check (topic <> 'evil')")
    evil = {0, 1, 17, 63}
    outcomes = await asyncio.gather(
        *(
            appender.append(prepared(row(f"s{number}", topic="evil" if number in evil else "good")))
            for number in range(CALLERS)
        ),
        return_exceptions=True,
    )
    assert {number for number, outcome in enumerate(outcomes) if isinstance(outcome, InvalidAppend)} == evil
    assert (await (await admin.execute("select count(*) from varve.events")).fetchone())[0] == CALLERS - len(evil)


async def test_what_the_server_refuses_when_it_commits_is_refused_alone_and_not_acknowledged(
    appender: BatchAppender, admin
):
    await admin.execute(
        """
        create function refuse() returns trigger language plpgsql as $$
        begin raise exception 'refused at the commit' using errcode = 'check_violation'; end $$;
        create constraint trigger late after insert on varve.events deferrable initially deferred
        for each row when (new.topic = 'evil') execute function refuse();
        """
    )
    refused = await append_among_others(appender, lambda: prepared(row(topic="evil")), "commit")
    assert isinstance(refused, InvalidAppend)
    assert "refused at the commit" in str(refused)


async def test_a_key_that_turns_out_to_be_taken_hurts_only_its_append(appender: BatchAppender, admin):
    await admin.execute(
        """
        create function take_first() returns trigger language plpgsql as $$
        begin insert into varve.claims values (new.tenant, new.claim || '!', 'z'); return new; end $$;
        create trigger take_first before insert on varve.claims for each row
        when (new.claim = 'double') execute function take_first();
        """
    )
    await appender.append(prepared(row("z"), claims=Claims(taken={"double!": "z"})))
    poison = prepared(row("evil"), claims=Claims(taken={"double": "evil"}))
    assert isinstance(await append_among_others(appender, lambda: poison, "key"), EventStoreError)
