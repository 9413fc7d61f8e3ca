"""The library's own projection cases, which no one here wrote, on our tracking recorders and subscriptions."""

import importlib
from collections.abc import Iterator
from contextlib import closing
from types import ModuleType
from typing import TYPE_CHECKING
from unittest import TestCase

import pytest
from eventsourcing.dcb import tests as dcb_cases
from eventsourcing.persistence import StoredEvent, Tracking
from eventsourcing.tests import application as application_cases
from eventsourcing.tests import domain as domain_cases
from eventsourcing.tests import persistence as persistence_cases
from eventsourcing.utils import get_topic

from eventstore.datastore import Datastore
from eventstore.persistence import VarveFactory, VarveProcessRecorder
from eventstore.scope import Scope
from tests.eventstore.json_decisions import JsonMapper, import_with_json_decisions
from varve.settings import Settings

if TYPE_CHECKING:
    from eventsourcing.tests import projection as projection_cases
else:
    projection_cases = import_with_json_decisions("eventsourcing.tests.projection")

_OUR_MODULES = ("test_recorder_conformance", "test_stock_applications", "test_projection_conformance")
_LEFT_OUT = {
    "RecorderTestCase": "it has no tests; the cases of recorders inherit from it",
    "TranscoderTestCase": "it asks how an application turns objects into JSON, before any recorder sees them",
}
"""The wheel's cases that do not run here, each with the reason."""


@pytest.fixture(autouse=True)
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that an installation sets: the runners find it in the process's environment."""
    monkeypatch.setenv("PERSISTENCE_MODULE", "eventstore.persistence")
    monkeypatch.setenv(VarveFactory.WRITER_DATABASE_URL, settings.role_url("varve_writer"))
    monkeypatch.setenv(VarveFactory.TENANT, "acme")


class EventCounters(VarveProcessRecorder, projection_cases.EventCountersView):
    """Keeps each counter as the length of a stream, raised in the append that tracks."""

    _CREATED = "created"
    _SUBSEQUENT = "subsequent"

    def get_created_event_counter(self) -> int:
        return self._count(self._CREATED)

    def get_subsequent_event_counter(self) -> int:
        return self._count(self._SUBSEQUENT)

    def incr_created_event_counter(self, tracking: Tracking) -> None:
        self._increase(self._CREATED, tracking)

    def incr_subsequent_event_counter(self, tracking: Tracking) -> None:
        self._increase(self._SUBSEQUENT, tracking)

    def _count(self, stream: str) -> int:
        return len(self.select_events(stream))

    def _increase(self, stream: str, tracking: Tracking) -> None:
        self.insert_events([StoredEvent(stream, self._count(stream) + 1, "Counted", b"")], tracking=tracking)


class TestEventCountersView(projection_cases.EventCountersViewTestCase):
    scope = Scope(lambda: "acme")

    @pytest.fixture(autouse=True)
    def _datastore(self, settings: Settings) -> Iterator[None]:
        with closing(Datastore(settings.role_url("varve_writer"))) as self.datastore:
            yield

    def construct_event_counters_view(self) -> EventCounters:
        return EventCounters(self.datastore, self.scope)


class TestEventCountersViewOfOneApplication(TestEventCountersView):
    scope = Scope(lambda: "acme", application="bookings")


class TestAggregateEventCountersProjection(projection_cases.AggregateEventCountersProjectionTestCase):
    view_class = EventCounters


class TestTaggedDecisionCountersProjection(projection_cases.TaggedDecisionCountersProjectionTestCase):
    view_class = EventCounters
    env = {"MAPPER_TOPIC": get_topic(JsonMapper)}  # noqa: RUF012 - as the case declares it


class TestEventSourcedProjection(projection_cases.EventSourcedProjectionTestCase): ...


@pytest.mark.parametrize("wheels", [application_cases, dcb_cases, domain_cases, persistence_cases, projection_cases])
def test_every_case_of_the_wheel_runs_on_our_recorders(wheels: ModuleType) -> None:
    for name in _OUR_MODULES:
        importlib.import_module(f"tests.eventstore.{name}")
    missing = {case.__name__ for case in _cases_of(wheels) if not _runs_here(case)}
    assert missing <= _LEFT_OUT.keys()


def _cases_of(wheels: ModuleType) -> list[type[TestCase]]:
    return [
        case
        for case in vars(wheels).values()
        if isinstance(case, type) and issubclass(case, TestCase) and case.__module__ == wheels.__name__
    ]


def _runs_here(case: type[TestCase]) -> bool:
    """Whether a class of ours derives from the case itself: from no other case of the wheel in between."""
    return any(derived.__module__.startswith("tests.") for derived in case.__subclasses__())
