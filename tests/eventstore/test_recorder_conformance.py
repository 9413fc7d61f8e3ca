"""The library's own recorder cases, which no one here wrote, on our recorders."""

from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pytest
from eventsourcing.dcb.tests import DCBRecorderTestCase
from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InfrastructureFactory,
    ProcessRecorder,
    TrackingRecorder,
)
from eventsourcing.tests import persistence as conformance
from eventsourcing.utils import Environment

from eventstore.datastore import Datastore
from eventstore.dcb import VarveDCBRecorder
from eventstore.persistence import VarveFactory
from eventstore.recorders import SnapshotRecorder, VarveAggregateRecorder, VarveApplicationRecorder
from eventstore.scope import Scope
from eventstore.tracking import VarveProcessRecorder, VarveTrackingRecorder
from varve.settings import Settings

WHOLE_TENANT = Scope(lambda: "acme")
ONE_APPLICATION = Scope(lambda: "acme", application="bookings")


class OverOurDatabase:
    """Gives the library's cases a database of ours."""

    scope = WHOLE_TENANT

    @pytest.fixture(autouse=True)
    def _datastore(self, settings: Settings) -> Iterator[None]:
        with closing(Datastore(settings.role_url("varve_writer"))) as self.datastore:
            yield


class OfOneApplication(OverOurDatabase):
    """Lets the recorders see what one application wrote; the library's cases find an empty log, so nothing differs."""

    scope = ONE_APPLICATION


class WithTextIds(OverOurDatabase):
    """Has text ids, as all streams of ours: the library's cases are written to be run both ways."""

    scope = Scope(lambda: "acme", has_text_ids=True)

    def new_originator_id(self) -> str:
        return str(uuid4())


class TestAggregateRecorder(OverOurDatabase, conformance.AggregateRecorderTestCase):
    def create_recorder(self) -> VarveAggregateRecorder:
        return VarveAggregateRecorder(self.datastore, self.scope)


class TestAggregateRecorderWithTextIds(WithTextIds, TestAggregateRecorder): ...


class TestAggregateRecorderOfOneApplication(OfOneApplication, TestAggregateRecorder): ...


class TestSnapshotRecorder(OverOurDatabase, conformance.AggregateRecorderTestCase):
    def create_recorder(self) -> SnapshotRecorder:
        return SnapshotRecorder(self.datastore, self.scope)


class TestSnapshotRecorderOfOneApplication(OfOneApplication, TestSnapshotRecorder): ...


class TestApplicationRecorder(OverOurDatabase, conformance.ApplicationRecorderTestCase[VarveApplicationRecorder]):
    def create_recorder(self) -> VarveApplicationRecorder:
        return VarveApplicationRecorder(self.datastore, self.scope)

    def test_insert_subscribe(self) -> None:
        self.optional_test_insert_subscribe()


class TestApplicationRecorderWithTextIds(WithTextIds, TestApplicationRecorder): ...


class TestApplicationRecorderOfOneApplication(OfOneApplication, TestApplicationRecorder): ...


class TestTrackingRecorder(OverOurDatabase, conformance.TrackingRecorderTestCase):
    def create_recorder(self) -> VarveTrackingRecorder:
        return VarveTrackingRecorder(self.datastore, self.scope)


class TestTrackingRecorderOfOneApplication(OfOneApplication, TestTrackingRecorder): ...


class TestProcessRecorder(OverOurDatabase, conformance.ProcessRecorderTestCase):
    def create_recorder(self) -> VarveProcessRecorder:
        return VarveProcessRecorder(self.datastore, self.scope)


class TestProcessRecorderAsApplicationRecorder(
    OverOurDatabase, conformance.ApplicationRecorderTestCase[VarveProcessRecorder]
):
    def create_recorder(self) -> VarveProcessRecorder:
        return VarveProcessRecorder(self.datastore, self.scope)


class TestNonInterleavingNotificationIDs(OverOurDatabase, conformance.NonInterleavingNotificationIDsBaseCase):
    def create_recorder(self) -> VarveApplicationRecorder:
        return VarveApplicationRecorder(self.datastore, self.scope)


class ViewOfOurs(VarveTrackingRecorder):
    """A view that someone's projection keeps."""


class TestInfrastructureFactory(conformance.InfrastructureFactoryTestCase[VarveFactory]):
    @pytest.fixture(autouse=True)
    def _environment(self, settings: Settings) -> None:
        self.env = Environment(
            env={
                InfrastructureFactory.PERSISTENCE_MODULE: "eventstore.persistence",
                VarveFactory.WRITER_DATABASE_URL: settings.role_url("varve_writer"),
            }
        )

    def expected_factory_class(self) -> type[VarveFactory]:
        return VarveFactory

    def expected_aggregate_recorder_class(self) -> type[AggregateRecorder]:
        return VarveAggregateRecorder

    def expected_application_recorder_class(self) -> type[ApplicationRecorder]:
        return VarveApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[TrackingRecorder]:
        return VarveTrackingRecorder

    def tracking_recorder_subclass(self) -> type[TrackingRecorder]:
        return ViewOfOurs

    def expected_process_recorder_class(self) -> type[ProcessRecorder]:
        return VarveProcessRecorder


class TestDCBRecorder(OverOurDatabase, DCBRecorderTestCase):
    def create_recorder(self) -> VarveDCBRecorder:
        return VarveDCBRecorder(self.datastore, self.scope)

    def test_append_read(self) -> None:
        self._test_append_read(self.create_recorder())

    def test_append_subscribe(self) -> None:
        self._test_append_subscribe(self.create_recorder())


class TestDCBRecorderOfOneApplication(OfOneApplication, TestDCBRecorder): ...
