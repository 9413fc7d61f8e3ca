"""Where an event that ends its process is parked: in its partition, as far as that can be known without decoding it."""

from typing import ClassVar, Literal

import pytest

from domain.knowledge.events import KnowledgeEntryCreated
from eventstore.records import RecordedEvent
from eventstore.slots import SLOTS, slot_of
from projections.isolation import Culprit, Isolation
from tests.projections.counting import Counted

ALL = range(SLOTS)


class OfTenants(Counted):
    PARTITIONED_BY: ClassVar[Literal["stream", "tenant"]] = "tenant"


class OfItsOwn(Counted):
    def partition(self, recorded: RecordedEvent) -> str:
        return "one for all"


def culprit(topic: str = KnowledgeEntryCreated.TOPIC) -> Culprit:
    return Culprit(7, "acme", "entry-1", topic, "hung")


def aside(projection, slots: range = ALL, topic: str = KnowledgeEntryCreated.TOPIC):
    return Isolation(projection, children=None, shared_log=None).aside(culprit(topic), slots)


def lane_without(key: str) -> range:
    """The half of the slots that `key` is not in."""
    half = SLOTS // 2
    return range(half, SLOTS) if slot_of(key) < half else range(half)


@pytest.mark.parametrize(
    ("projection", "partition"), [(Counted(), "acme/entry-1"), (OfTenants(), "acme"), (OfItsOwn(), "acme/entry-1")]
)
def test_it_is_parked_with_its_death_in_its_partition(projection, partition):
    parked = aside(projection)
    assert (parked.position, parked.partition, parked.error, parked.attempts) == (7, partition, "hung", 2)


@pytest.mark.parametrize(("projection", "key"), [(Counted(), "acme/entry-1"), (OfTenants(), "acme")])
def test_another_lane_only_passes_it(projection, key):
    assert aside(projection, lane_without(key)) is None


def test_where_partitions_are_not_known_no_lane_that_dies_of_it_drops_it():
    assert aside(OfItsOwn(), lane_without("acme/entry-1")) is not None


def test_one_that_the_projection_does_not_take_is_passed():
    assert aside(Counted(), topic="knowledge.DocumentUploaded") is None
