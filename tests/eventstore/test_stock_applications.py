"""Applications of the `eventsourcing` library that know nothing of Varve, over our log."""

from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid4, uuid5

import psycopg
import pytest
from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.dcb.api import DCBEvent
from eventsourcing.dcb.application import DCBApplication
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import IntegrityError, StoredEvent, Tracking
from eventsourcing.projection import (
    ApplicationSubscription,
    EventSourcedProjection,
    EventSourcedProjectionRunner,
    Projection,
    ProjectionRunner,
)
from eventsourcing.system import MultiThreadedRunner, ProcessApplication, Runner, SingleThreadedRunner, System
from eventsourcing.tests import application as conformance
from eventsourcing.utils import get_topic

from eventstore.persistence import TenantNotSet, VarveFactory, VarveProcessRecorder, acting_for
from varve.settings import Settings


@pytest.fixture(autouse=True)
def environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that an installation sets: the applications find it in the process's environment."""
    monkeypatch.setenv("PERSISTENCE_MODULE", "eventstore.persistence")
    monkeypatch.setenv(VarveFactory.WRITER_DATABASE_URL, settings.role_url("varve_writer"))
    monkeypatch.setenv(VarveFactory.TENANT, "acme")


class Dog(Aggregate):
    @event("Registered")
    def __init__(self, name: str) -> None:
        self.name = name
        self.tricks: list[str] = []

    @event("TrickAdded")
    def add_trick(self, trick: str) -> None:
        self.tricks.append(trick)


class Kennel(Application[UUID]):
    def register(self, name: str) -> UUID:
        dog = Dog(name)
        self.save(dog)
        return dog.id

    def teach(self, dog_id: UUID, trick: str) -> int:
        dog: Dog = self.repository.get(dog_id)
        dog.add_trick(trick)
        return self.save(dog)[-1].notification.id

    def tricks(self, dog_id: UUID) -> list[str]:
        dog: Dog = self.repository.get(dog_id)
        return dog.tricks


class OftenPicturedKennel(Kennel):
    snapshotting_intervals = {Dog: 2}  # noqa: RUF012 - as the library's users write it


class Tally(Aggregate):
    @event("Opened")
    def __init__(self, topic: str) -> None:
        self.topic = topic
        self.count = 0

    @staticmethod
    def create_id(topic: str) -> UUID:
        return uuid5(NAMESPACE_URL, topic)

    @event("Counted")
    def increase(self) -> None:
        self.count += 1


class Counting(Application[UUID]):
    """What the two kinds of event processing applications below have in common."""

    @singledispatchmethod
    def policy(self, domain_event: Any, processing_event: Any) -> None:
        topic = type(domain_event).__qualname__
        try:
            tally: Tally = self.repository.get(Tally.create_id(topic))
        except AggregateNotFoundError:
            tally = Tally(topic)
        tally.increase()
        processing_event.collect_events(tally)

    def count(self, event_class: type[Any]) -> int:
        try:
            tally: Tally = self.repository.get(Tally.create_id(event_class.__qualname__))
        except AggregateNotFoundError:
            return 0
        return tally.count


class EventCounts(Counting, ProcessApplication[UUID]):
    """Counts whatever event it gets: if it got its own, it would never end."""


class ProjectedCounts(Counting, EventSourcedProjection[UUID]): ...


class TricksView(VarveProcessRecorder):
    """A view that keeps what it shows as events, in the append that tracks."""

    stream = "tricks"

    def count(self) -> int:
        return len(self.select_events(self.stream))

    def add(self, tracking: Tracking) -> None:
        self.insert_events([StoredEvent(self.stream, self.count() + 1, "TrickCounted", b"")], tracking=tracking)


class TricksProjection(Projection[TricksView]):
    topics = (get_topic(Dog.TrickAdded),)

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.add(tracking)


class OtherProjection(TricksProjection): ...


class TestExampleApplication(conformance.ExampleApplicationTestCase):
    expected_factory_topic = "eventstore.persistence:VarveFactory"


# One of the cases wants to see the warning that it causes.
@pytest.mark.filterwarnings("default::DeprecationWarning")
class TestApplication(conformance.ApplicationTestCase): ...


def test_aggregates_are_saved_and_loaded() -> None:
    with Kennel() as kennel:
        dog_id = kennel.register("Fido")
        kennel.teach(dog_id, "roll over")
        kennel.teach(dog_id, "play dead")
    with Kennel() as another:
        assert another.tricks(dog_id) == ["roll over", "play dead"]


def test_what_nobody_saved_is_not_found() -> None:
    with Kennel() as kennel, pytest.raises(AggregateNotFoundError):
        kennel.tricks(uuid4())


def test_an_aggregate_that_has_moved_on_is_not_saved() -> None:
    with Kennel() as kennel:
        dog_id = kennel.register("Fido")
        stale: Dog = kennel.repository.get(dog_id)
        kennel.teach(dog_id, "roll over")
        stale.add_trick("play dead")
        with pytest.raises(IntegrityError, match="StreamConflict"):
            kennel.save(stale)


def test_snapshots_are_taken_and_used() -> None:
    with OftenPicturedKennel() as kennel:
        dog_id = kennel.register("Fido")
        for trick in ("roll over", "play dead", "sit"):
            kennel.teach(dog_id, trick)
        assert kennel.snapshots is not None
        assert [snapshot.originator_version for snapshot in kennel.snapshots.get(dog_id)] == [2, 4]
        assert kennel.tricks(dog_id) == ["roll over", "play dead", "sit"]


def test_the_notification_log_holds_ids_of_the_type_that_was_saved() -> None:
    with Kennel() as kennel:
        dog_id = kennel.register("Fido")
        [notification] = kennel.notification_log.select(start=1, limit=10)
    assert notification.originator_id == dog_id


def test_text_ids_stay_text_where_the_environment_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VarveFactory.ORIGINATOR_ID_TYPE, "text")
    with Kennel() as kennel:
        dog_id = kennel.register("Fido")
        [notification] = kennel.notification_log.select(start=1, limit=10)
        assert notification.originator_id == str(dog_id)
        assert kennel.tricks(dog_id) == []


def test_a_subscription_hands_over_what_is_saved_meanwhile() -> None:
    with Kennel() as kennel, ApplicationSubscription(kennel) as subscription:
        dog_id = kennel.register("Fido")
        domain_event, tracking = next(subscription)
    assert (domain_event.originator_id, tracking) == (dog_id, Tracking("Kennel", 1))


@pytest.fixture(params=[SingleThreadedRunner, MultiThreadedRunner])
def runner(request: pytest.FixtureRequest) -> Iterator[Runner[UUID]]:
    runner_class: Callable[[System], Runner[UUID]] = request.param
    with runner_class(System(pipes=[[Kennel, EventCounts]])) as started:
        yield started


def test_a_system_processes_each_event_once(runner: Runner[UUID]) -> None:
    kennel = runner.get(Kennel)
    counts = runner.get(EventCounts)
    dog_id = kennel.register("Fido")
    kennel.teach(dog_id, "roll over")
    last = kennel.teach(dog_id, "play dead")
    counts.recorder.wait("Kennel", last, timeout=10)
    assert (counts.count(Dog.Registered), counts.count(Dog.TrickAdded)) == (1, 2)
    assert counts.count(Tally.Counted) == 0
    assert counts.recorder.max_tracking_id("Kennel") == last


def test_an_event_sourced_projection_follows_an_application() -> None:
    with EventSourcedProjectionRunner(application_class=Kennel, projection_class=ProjectedCounts) as runner:
        dog_id = runner.app.register("Fido")
        runner.wait(runner.app.teach(dog_id, "roll over"), timeout=10)
        assert runner.projection.count(Dog.TrickAdded) == 1


def test_a_projection_goes_on_where_it_stopped() -> None:
    for total in (1, 2):
        with ProjectionRunner(
            application_class=Kennel, projection_class=TricksProjection, view_class=TricksView
        ) as runner:
            runner.wait(runner.app.teach(runner.app.register("Fido"), "roll over"), timeout=10)
            assert runner.projection.view.count() == total


def test_each_projection_of_an_application_has_a_place_of_its_own() -> None:
    for projection_class in (TricksProjection, OtherProjection):
        with ProjectionRunner(
            application_class=Kennel, projection_class=projection_class, view_class=TricksView
        ) as runner:
            runner.wait(runner.app.teach(runner.app.register("Fido"), "roll over"), timeout=10)
            read = runner.projection.view.count()
    assert read == 2  # the second one has read what the first one had read


def test_equal_ids_of_two_applications_do_not_meet() -> None:
    with Kennel() as kennel, EventCounts() as counts:
        tally = Tally("a topic")
        kennel.save(tally)
        counts.save(Tally("a topic"))
        assert [notification.originator_id for notification in kennel.notification_log.select(1, 10)] == [tally.id]


def test_the_tenant_of_the_context_comes_before_that_of_the_environment() -> None:
    with Kennel() as kennel:
        with acting_for("umbra"):
            dog_id = kennel.register("Fido")
        with pytest.raises(AggregateNotFoundError):
            kennel.tricks(dog_id)
        with acting_for("umbra"):
            assert kennel.tricks(dog_id) == []


def test_nothing_is_saved_without_a_tenant(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VarveFactory.TENANT)
    with Kennel() as kennel, pytest.raises(TenantNotSet):
        kennel.register("Fido")


def test_events_carry_their_tenant_and_their_application(settings: Settings) -> None:
    with Kennel() as kennel:
        dog_id = kennel.register("Fido")
    with psycopg.connect(settings.required_database_url()) as admin:
        rows = admin.execute("select tenant, stream, tags from varve.events").fetchall()
    assert rows == [("acme", f"kennel-{dog_id}", ["application:kennel"])]


def test_an_application_that_has_only_tags_works_as_well() -> None:
    with closing(DCBApplication()) as application:
        first = application.recorder.append([DCBEvent("SeatBooked", b"1A", ["seat:1A"])])
        [read] = application.recorder.read()
    assert (read.position, read.event.tags) == (first, ["seat:1A"])
