"""The `eventsourcing` library's recorders over our log, chosen by `PERSISTENCE_MODULE=eventstore.persistence`."""

from functools import partial
from typing import TypeVar

from eventsourcing import persistence as library
from eventsourcing.dcb.api import DCBRecorder
from eventsourcing.dcb.persistence import DCBInfrastructureFactory
from eventsourcing.utils import Environment, EnvType, resolve_topic

from eventstore.datastore import Datastore
from eventstore.dcb import VarveDCBRecorder
from eventstore.recorders import LogRecorder, SnapshotRecorder, VarveAggregateRecorder, VarveApplicationRecorder
from eventstore.scope import Scope, TenantNotSet, acting_for, tenant_of_context
from eventstore.tracking import VarveProcessRecorder, VarveTrackingRecorder

__all__ = [
    "SnapshotRecorder",
    "TenantNotSet",
    "VarveAggregateRecorder",
    "VarveApplicationRecorder",
    "VarveDCBRecorder",
    "VarveFactory",
    "VarveProcessRecorder",
    "VarveTrackingRecorder",
    "acting_for",
]

R = TypeVar("R", bound=LogRecorder)


class VarveFactory(
    library.InfrastructureFactory[VarveTrackingRecorder], DCBInfrastructureFactory[VarveTrackingRecorder]
):
    """Makes the recorders of an application from the settings in its environment.

    `VARVE_WRITER_DATABASE_URL` is the URL of the role `varve_writer`. The tenant is that of `acting_for`, and where
    there is none, as in the threads of a runner, that of `VARVE_TENANT`. An application sees what it wrote itself, as
    with the library's own tables, under its name or under `VARVE_APPLICATION`; where that is set and empty, it sees all
    that the tenant has. Either way a tag names it on all that it writes: only `VarveApplication`, which says so with
    `VARVE_EVENTS_ARE_OURS`, and recorders without a name write events of Varve's own. `ORIGINATOR_ID_TYPE` is the
    library's: `uuid`, or `text` for ids that must not become UUIDs.
    """

    WRITER_DATABASE_URL = "VARVE_WRITER_DATABASE_URL"
    TENANT = "VARVE_TENANT"
    APPLICATION = "VARVE_APPLICATION"
    EVENTS_ARE_OURS = "VARVE_EVENTS_ARE_OURS"
    ORIGINATOR_ID_TYPE = "ORIGINATOR_ID_TYPE"

    def __init__(self, env: Environment | EnvType | None) -> None:
        super().__init__(env)
        database_url = self.env.get(self.WRITER_DATABASE_URL)
        if not database_url:
            raise library.InfrastructureFactoryError(f"{self.WRITER_DATABASE_URL} is not set")
        id_type = self.env.get(self.ORIGINATOR_ID_TYPE, "uuid").lower()
        if id_type not in {"uuid", "text"}:
            raise library.InfrastructureFactoryError(f"{self.ORIGINATOR_ID_TYPE} is 'uuid' or 'text', not {id_type!r}")
        is_ours = self.env.get(self.EVENTS_ARE_OURS) is not None
        name = self.env.name.lower()
        self._scope = Scope(
            tenant=partial(tenant_of_context, self.env.get(self.TENANT)),
            application="" if is_ours else self.env.get(self.APPLICATION, name),
            writes_as="" if is_ours else self.env.get(self.APPLICATION) or name,
            has_text_ids=id_type == "text",
        )
        self._datastore = Datastore(database_url)

    def aggregate_recorder(self, purpose: str = "events") -> library.AggregateRecorder:
        """Return the recorder of snapshots for the purpose ``snapshots``, of events for every other."""
        if purpose == "snapshots":
            return self._recorder(SnapshotRecorder)
        return self._recorder(VarveAggregateRecorder)

    def application_recorder(self) -> library.ApplicationRecorder:
        return self._recorder(VarveApplicationRecorder, self.APPLICATION_RECORDER_TOPIC)

    def tracking_recorder(
        self, tracking_recorder_class: type[VarveTrackingRecorder] | None = None
    ) -> VarveTrackingRecorder:
        """Return a recorder of the class, or else of that of `TRACKING_RECORDER_TOPIC`, or else ours."""
        if tracking_recorder_class is not None:
            return self._recorder(tracking_recorder_class)
        return self._recorder(VarveTrackingRecorder, self.TRACKING_RECORDER_TOPIC)

    def process_recorder(self) -> library.ProcessRecorder:
        return self._recorder(VarveProcessRecorder, self.PROCESS_RECORDER_TOPIC)

    def dcb_recorder(self) -> DCBRecorder:
        return self._recorder(VarveDCBRecorder)

    def close(self) -> None:
        self._datastore.close()

    def _recorder(self, recorder_class: type[R], topic_setting: str = "") -> R:
        """Return a recorder of the class, or of the subclass that the setting names."""
        topic = self.env.get(topic_setting) if topic_setting else None
        named = resolve_topic(topic) if topic else recorder_class
        if not issubclass(named, recorder_class):
            raise library.InfrastructureFactoryError(f"{topic} is no {recorder_class.__name__}")
        return named(self._datastore, self._scope)
