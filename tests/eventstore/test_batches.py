"""How appends are folded into one call: what touches the same keeps its order, the rest shares a round."""

from datetime import UTC, datetime
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventstore.batch import Again, Batch, BatchAnswer, Outcome
from eventstore.errors import ClaimTaken, EventStoreError
from eventstore.prepare import PreparedAppend
from eventstore.records import Appended, Boundary, BoundaryItem, Claims, Counter, Tracked
from tests.builders.appends import key
from tests.builders.prepared import command, prepared, row, rows_of

COMMAND = command()
SAME = {
    "the stream that it writes": lambda: prepared(row("s")),
    "the stream whose version it expects": lambda: prepared(row("other"), expected=(("s", 0),)),
    "a claim that it takes": lambda: prepared(row("c"), claims=Claims(taken={"claim": "c"})),
    "a claim that it releases": lambda: prepared(row("r"), claims=Claims(released=("claim",))),
    "the idempotency key": lambda: prepared(command=command(key=key())),
    "the command": lambda: prepared(command=COMMAND),
    "the tracked position": lambda: prepared(tracked=Tracked("upstream", 1)),
    "the boundary": lambda: prepared(
        row("b", tags=("tag",)), boundary=Boundary((BoundaryItem(topics=("t",), tags=("tag",)),))
    ),
}
TOUCHES = [
    ("the stream that it writes", "the stream that it writes"),
    ("the stream that it writes", "the stream whose version it expects"),
    ("a claim that it takes", "a claim that it releases"),
    ("the idempotency key", "the idempotency key"),
    ("the command", "the command"),
    ("the tracked position", "the tracked position"),
    ("the boundary", "the boundary"),
]


def rounds_of(*appends: PreparedAppend) -> list[int]:
    """The round of each append, in the order given."""
    batch = Batch.of(appends)
    return [number for _, number in sorted(zip(batch.order, batch.rounds, strict=True))]


@pytest.mark.parametrize(("first", "second"), TOUCHES)
def test_two_that_touch_the_same_stand_in_two_rounds(first, second):
    assert rounds_of(SAME[first](), SAME[second]()) == [1, 2]
    assert rounds_of(SAME[second](), SAME[first]()) == [1, 2]


def test_what_touches_nothing_of_another_shares_its_round():
    assert rounds_of(*(make() for name, make in SAME.items() if name.endswith("writes")), prepared(row("x"))) == [1, 1]


@pytest.mark.parametrize("name", SAME)
def test_tenants_touch_nothing_of_one_another(name):
    one = SAME[name]()
    assert rounds_of(one, prepared(row("s"), tenant="umbra")) == [1, 1]


def test_those_that_share_a_counter_share_a_round():
    one, two = (prepared(row(name), counters=(Counter("quota", 1, 5),)) for name in "ab")
    assert rounds_of(one, two) == [1, 1]


def test_one_that_shares_a_counter_never_overtakes():
    counter = (Counter("quota", 1, 5),)
    later = prepared(row("s", 2), counters=counter)
    assert rounds_of(prepared(row("s")), later, prepared(row("free"), counters=counter)) == [1, 2, 2]


def test_counters_of_one_that_comes_again_are_looked_at_one_by_one():
    one, two, three = (prepared(row(name), counters=(Counter("quota", 1, 5),)) for name in "abc")
    assert rounds_of(one, two.alone(), three) == [1, 2, 3]


def test_an_event_outside_a_boundary_does_not_wait_for_it():
    boundary = Boundary((BoundaryItem(tags=("tag", "and another")),))
    assert rounds_of(prepared(row("a", tags=("tag",))), prepared(row("b"), boundary=boundary)) == [1, 1]


def test_a_boundary_without_tags_and_topics_holds_every_event_of_the_tenant():
    everything = Boundary((BoundaryItem(),))
    assert rounds_of(prepared(row("a")), prepared(row("b"), boundary=everything)) == [1, 2]
    assert rounds_of(prepared(row("a"), tenant="umbra"), prepared(row("b"), boundary=everything)) == [1, 1]


def test_an_event_may_share_the_round_of_a_boundary_that_came_before_it_and_not_an_earlier_one():
    boundary = Boundary((BoundaryItem(tags=("tag",)),))
    appends = (prepared(row("s")), prepared(row("s", 2), boundary=boundary), prepared(row("e", tags=("tag",))))
    assert rounds_of(*appends) == [1, 2, 2]


def test_the_same_append_given_twice_has_two_places():
    twice = prepared(row("s"))
    batch = Batch.of([twice, twice])
    assert (list(batch.order), list(batch.rounds)) == ([0, 1], [1, 2])


def answer(refusals: dict[str, object]) -> BatchAnswer:
    return BatchAnswer("e", 40, datetime(2026, 1, 1, tzinfo=UTC), refusals)


def test_positions_follow_on_the_head_in_the_order_of_the_batch():
    appends = [prepared(*rows_of("a", 0, 2)), prepared(*rows_of("a", 2, 3)), prepared(*rows_of("b", 0, 4)), prepared()]
    batch = Batch.of(appends)
    assert list(batch.order) == [0, 2, 3, 1]
    outcomes = batch.outcomes(answer({}))
    assert [outcome.position for outcome in outcomes if isinstance(outcome, Appended)] == [42, 46, 46, 49]


def test_a_refused_append_takes_no_position():
    batch = Batch.of([prepared(*rows_of("a", 0, 2)), prepared(*rows_of("b", 0, 2)), prepared(*rows_of("c", 0, 2))])
    refused = {"2": {"result": "claimed", "claim": "c", "stream": "z"}}
    first, second, third = batch.outcomes(answer(refused))
    assert isinstance(second, ClaimTaken)
    assert [outcome.position for outcome in (first, third) if isinstance(outcome, Appended)] == [42, 44]


def test_one_that_is_to_come_again_takes_no_position():
    batch = Batch.of([prepared(row("a")), prepared(row("b"))])
    outcomes = batch.outcomes(answer({"1": {"result": "again"}}))
    assert isinstance(outcomes[0], Again)
    assert _position(outcomes[1]) == 41


def test_a_batch_without_commands_sends_no_columns_of_commands():
    bare, full = Batch.of([prepared(row())]).parameters(), Batch.of([prepared(row(), command=command())]).parameters()
    assert bare[4:16] == [None] * 12
    assert [parameter is None for parameter in full[4:16]] == [False] * 8 + [True] * 4


NAMES = st.sampled_from(["a", "b", "c"])
ITEMS = st.builds(
    BoundaryItem,
    st.lists(NAMES, max_size=2, unique=True).map(tuple),
    st.lists(NAMES, max_size=2, unique=True).map(tuple),
)
APPENDS = st.builds(
    lambda rows, **conditions: prepared(*rows, **conditions),
    st.lists(
        st.builds(row, st.none() | NAMES, topic=NAMES, tags=st.lists(NAMES, max_size=2, unique=True).map(tuple)),
        min_size=1,
        max_size=2,
    ),
    tenant=st.sampled_from(["acme", "umbra"]),
    expected=st.lists(st.tuples(NAMES, st.just(1)), max_size=1).map(tuple),
    claims=st.builds(Claims, st.dictionaries(NAMES, NAMES, max_size=1), st.lists(NAMES, max_size=1).map(tuple)),
    counters=st.lists(NAMES, max_size=2, unique=True).map(lambda names: tuple(Counter(name, 1, 9) for name in names)),
    tracked=st.none() | st.builds(Tracked, NAMES, st.just(1)),
    boundary=st.none() | st.builds(Boundary, st.lists(ITEMS, min_size=1, max_size=2).map(tuple), st.just(0)),
    command=st.none() | st.builds(lambda name: command(key=key(name)), NAMES) | st.builds(command),
)


@given(st.lists(APPENDS, max_size=8), st.sets(st.integers(0, 7)))
def test_every_batch_keeps_the_order_of_what_overlaps(appends, resent):
    appends = [each.alone() if number in resent else each for number, each in enumerate(appends)]
    rounds = rounds_of(*appends)
    for (first, earlier), (second, later) in combinations(zip(appends, rounds, strict=True), 2):
        if set(first.touched) & set(second.touched) or _crosses(first, second):
            assert earlier < later
        if _crosses(second, first):
            assert earlier <= later
        if _counters(first) & _counters(second):
            assert earlier <= later
            assert earlier < later or not any(each.is_resent_alone for each in appends)


@given(st.lists(APPENDS, max_size=8))
def test_every_append_of_a_batch_has_one_place(appends):
    batch = Batch.of(appends)
    assert sorted(batch.order) == list(range(len(appends)))
    assert [id(each) for each in batch.appends] == [id(appends[index]) for index in batch.order]
    assert list(zip(batch.rounds, batch.order, strict=True)) == sorted(zip(batch.rounds, batch.order, strict=True))


@given(st.lists(APPENDS, max_size=8), st.sets(st.integers(1, 8)))
def test_positions_are_handed_out_without_gap_or_overlap(appends, refused):
    batch = Batch.of(appends)
    outcomes = batch.outcomes(answer({str(number): {"result": "crossed", "position": 1} for number in refused}))
    reached = 40
    for number, (append, outcome) in enumerate(zip(batch.appends, outcomes, strict=True), start=1):
        if number in refused:
            assert isinstance(outcome, EventStoreError)
        else:
            reached += append.event_count
            assert _position(outcome) == reached


def _position(outcome: Outcome) -> int:
    assert isinstance(outcome, Appended)
    return outcome.position


def _counters(append: PreparedAppend) -> set[tuple[str, str]]:
    return {(append.tenant, counter.name) for counter in append.conditions.counters}


def _crosses(first: PreparedAppend, second: PreparedAppend) -> bool:
    """Whether an event of `first` lies in the boundary of `second`."""
    boundary = second.conditions.boundary
    return (
        boundary is not None
        and first.tenant == second.tenant
        and any(
            (not item.topics or topic in item.topics) and all(tag in tags for tag in item.tags)
            for item in boundary.items
            for topic, tags in first.marks
        )
    )
