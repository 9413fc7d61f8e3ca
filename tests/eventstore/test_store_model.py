"""The store against a plain model of it: whatever is appended, alone or at once, both tell and keep the same."""

import asyncio
import itertools
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import hypothesis
import psycopg
from anyio.from_thread import BlockingPortal, start_blocking_portal
from hypothesis import HealthCheck, note
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from eventstore.batch_appender import BatchAppender, open_batch_appender
from eventstore.prepare import PreparedAppend
from eventstore.records import Boundary, BoundaryItem, Claims, Counter, IdempotencyKey, Tracked
from tests.builders.prepared import command, prepared, row
from tests.eventstore.store_model import Asked, AskedCommand, AskedEvent, StoreModel, Told, told, without_position
from varve.settings import Settings

STREAMS = st.sampled_from(["s", "t", "u"])
TOPICS = st.sampled_from(["a", "b"])
TAGS = st.lists(st.sampled_from(["x", "y"]), max_size=2, unique=True).map(tuple)
NAMES = st.sampled_from(["n", "m"])
MOSTLY_RIGHT = st.sampled_from([0, 0, 0, 0, 1, 2, -1])
"""How far a version is from the one that is right before the appends that are sent at once."""


@dataclass(frozen=True)
class Store:
    """The real one, for a test that is not async."""

    portal: BlockingPortal
    appender: BatchAppender
    connection: psycopg.Connection[Any]

    def append_at_once(self, appends: Sequence[PreparedAppend]) -> list[object]:
        async def append_all() -> list[object]:
            return await asyncio.gather(*map(self.appender.append, appends), return_exceptions=True)

        return self.portal.call(append_all)

    def rows(self, columns: str, table: str, tenants: list[str]) -> list[tuple[Any, ...]]:
        query = f"select {columns} from varve.{table} where tenant = any (%s) order by 1, 2"
        return self.connection.execute(query.encode(), (tenants,)).fetchall()


def chunks(draw: st.DrawFn, model: StoreModel, tenant: str) -> Iterator[AskedEvent]:
    """Events of some streams and of none; a stream that comes twice makes versions that don't follow on."""
    for stream in draw(st.lists(STREAMS | st.none(), max_size=3)):
        version = model.version(tenant, stream) if stream else None
        first = (0 if version is None else version) + 1 + draw(MOSTLY_RIGHT)
        for number in range(draw(st.integers(1, 2))):
            yield AskedEvent(stream, max(first, 0) + number if stream else None, draw(TOPICS), draw(TAGS))


@st.composite
def conditions(draw: st.DrawFn, model: StoreModel, tenant: str, *, has_events: bool) -> dict[str, Any]:
    chosen: dict[str, Any] = {}
    if draw(st.integers(0, 3)) == 0:
        stream = draw(STREAMS)
        chosen["expected"] = ((stream, max((model.version(tenant, stream) or 0) + draw(MOSTLY_RIGHT), 0)),)
    if has_events and draw(st.booleans()):
        chosen["taken"] = tuple(draw(st.dictionaries(NAMES, STREAMS, max_size=2)).items())
        chosen["released"] = tuple(draw(st.lists(NAMES, max_size=2)))
    if has_events and draw(st.booleans()):
        names = draw(st.lists(NAMES, max_size=2, unique=True))
        chosen["counters"] = tuple((name, draw(st.integers(-2, 3)), draw(st.integers(0, 4))) for name in names)
    if draw(st.integers(0, 3)) == 0:
        chosen["tracked"] = (draw(NAMES), draw(st.integers(0, 9)))
    if draw(st.integers(0, 2)) == 0:
        items = draw(
            st.lists(st.tuples(st.lists(TOPICS, max_size=1).map(tuple), TAGS), min_size=1, max_size=2).map(tuple)
        )
        chosen["boundary"] = (max(model.head - draw(st.sampled_from([0, 0, 1, 3, 50])), 0), items)
    return chosen


@st.composite
def commands(draw: st.DrawFn) -> AskedCommand:
    keys = st.tuples(st.sampled_from(["ann", "ben"]), st.sampled_from(["k", "l"]), st.sampled_from([b"1", b"1", b"2"]))
    return AskedCommand(
        status=draw(st.sampled_from(["accepted", "accepted", "refused", "failed"])),
        outcome=draw(st.text(alphabet="ab\\\"'名", max_size=3)),
        key=draw(st.none() | keys),
        seconds=draw(st.sampled_from([3600, 3600, 0, None])),
    )


@st.composite
def asked(draw: st.DrawFn, model: StoreModel, tenants: list[str], former: list[Asked]) -> Asked:
    """An append, now and then a former one once more, or another one with the id of a former one."""
    repeats = draw(st.integers(0, 9)) if former else 9
    again = draw(st.sampled_from([one for one in former if one.command is not None] or [None]))
    if again is not None and repeats == 0:
        return again
    tenant = draw(st.sampled_from(tenants))
    events = tuple(chunks(draw, model, tenant))
    record = draw(st.none() | commands())
    if not events and record is None:
        record = AskedCommand("accepted", "")
    append_id = again.append_id if again is not None and repeats == 1 else uuid4()
    chosen = draw(conditions(model, tenant, has_events=bool(events)))
    return Asked(tenant, append_id, events, command=record, **chosen)


def prepared_of(one: Asked) -> PreparedAppend:
    record = None
    if one.command is not None:
        key = None
        if one.command.key is not None:
            actor, name, fingerprint = one.command.key
            key = IdempotencyKey(actor, name, fingerprint, one.command.seconds or 0)
        record = command(
            one.append_id,
            status=one.command.status,
            outcome={"text": one.command.outcome},
            key=key,
            is_remembered=one.command.seconds is not None,
        )
    boundary = None
    if one.boundary is not None:
        after, items = one.boundary
        boundary = Boundary(tuple(BoundaryItem(*item) for item in items), after)
    return prepared(
        *(row(event.stream, event.version, topic=event.topic, tags=event.tags) for event in one.events),
        tenant=one.tenant,
        **({"append_id": one.append_id} if record is None else {"command": record}),
        expected=one.expected,
        claims=Claims(dict(one.taken), one.released),
        counters=tuple(Counter(*counter) for counter in one.counters),
        tracked=None if one.tracked is None else Tracked(*one.tracked),
        boundary=boundary,
    )


class StoreMachine(RuleBasedStateMachine):
    """Appends to both. Every run has tenants of its own in one log, so that they need no new database."""

    def __init__(self, store: Store) -> None:
        super().__init__()
        self.store = store
        self.tenants = [f"{name} {uuid4()}" for name in ("acme", "umbra")]
        [(head,)] = store.connection.execute("select coalesce(max(position), 0) from varve.events").fetchall()
        self.model = StoreModel(head)
        self.former: list[Asked] = []

    @rule(data=st.data())
    def append(self, data: st.DataObject) -> None:
        self._append(data, 1)

    @rule(data=st.data(), count=st.integers(2, 5))
    def append_at_once(self, data: st.DataObject, count: int) -> None:
        self._append(data, count)

    def _append(self, data: st.DataObject, count: int) -> None:
        appends = [data.draw(asked(self.model, self.tenants, self.former)) for _ in range(count)]
        self.former += appends
        outcomes = list(map(told, self.store.append_at_once([prepared_of(one) for one in appends])))
        for one, outcome in zip(appends, outcomes, strict=True):
            note(f"{one} -> {outcome}")
        queue = in_turns(list(zip(appends, outcomes, strict=True)))
        if not any(outcome[0] == "limited" for outcome in outcomes):
            # After one that found no room in a counter others are decided anew: their order is the store's choice.
            self._require_order_of(queue)
        after = next(orders(self.model, queue), None)
        assert after is not None, f"no order of these appends explains {outcomes}"
        self.model = after

    def _require_order_of(self, queue: "list[tuple[Asked, Told]]") -> None:
        """Each outcome is what it is when the appends come one after another; only positions may stand otherwise."""
        model = self.model.copy()
        for one, outcome in queue:
            assert without_position(outcome) in map(without_position, model.apply(one))

    def teardown(self) -> None:
        model, store, tenants = self.model, self.store, self.tenants
        assert store.rows("position, command_id, tenant, stream, version, topic, tags", "events", tenants) == [
            (position, append_id, tenant, event.stream, event.version, event.topic, list(event.tags))
            for position, append_id, tenant, event in model.events
        ]
        assert store.rows("position, tag", "event_tags", tenants) == sorted(
            (position, tag) for position, _, _, event in model.events for tag in event.tags
        )
        assert store.rows("tenant, claim, stream", "claims", tenants) == flat(model.claims)
        assert store.rows("tenant, counter, value", "counters", tenants) == flat(model.counters)
        assert store.rows("tenant, application_name, position", "tracking", tenants) == flat(model.tracking)
        assert store.rows("tenant, id, position, status, outcome ->> 'text'", "commands", tenants) == [
            (*name, stored.position, stored.status, stored.outcome) for name, stored in sorted(model.commands.items())
        ]
        keys = "tenant, actor, key, fingerprint, command_id, expires_at > clock_timestamp()"
        found = store.rows(keys, "idempotency", tenants)
        assert sorted(found) == sorted((*name, *kept) for name, kept in model.keys.items())


def flat(table: dict[tuple[str, str], Any]) -> list[tuple[Any, ...]]:
    return [(*name, value) for name, value in sorted(table.items())]


def in_turns(appends: "list[tuple[Asked, Told]]") -> "list[tuple[Asked, Told]]":
    """The order of the queue: tenants take turns, each with its appends in the order in which they came."""
    queues: dict[str, list[tuple[Asked, Told]]] = {}
    for append in appends:
        queues.setdefault(append[0].tenant, []).append(append)
    turns = itertools.zip_longest(*queues.values())
    return [append for turn in turns for append in turn if append is not None]


def orders(model: StoreModel, appends: "list[tuple[Asked, Told]]") -> Iterator[StoreModel]:
    """The model after each order of the appends in which all outcomes are right, positions included."""
    if not appends:
        yield model
    for index, (one, outcome) in enumerate(appends):
        after = model.copy()
        if outcome in after.apply(one):
            yield from orders(after, appends[:index] + appends[index + 1 :])


@contextmanager
def open_store(installation: Settings) -> Iterator[Store]:
    url = installation.role_url("varve_writer")
    with (
        psycopg.connect(installation.required_database_url(), autocommit=True) as connection,
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(open_batch_appender(url)) as appender,
    ):
        yield Store(portal, appender, connection)


def test_the_store_does_what_its_model_does(settings: Settings):
    with open_store(settings) as store:
        run_state_machine_as_test(
            lambda: StoreMachine(store),
            settings=hypothesis.settings(
                max_examples=80,
                stateful_step_count=12,
                deadline=None,
                suppress_health_check=list(HealthCheck),
                phases=set(hypothesis.Phase) - {hypothesis.Phase.explain, hypothesis.Phase.shrink},
                print_blob=True,
            ),
        )
