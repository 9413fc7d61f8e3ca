"""The `eventsourcing` library's own PostgreSQL recorder, as it comes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import uuid4

from eventsourcing.persistence import StoredEvent
from eventsourcing.postgres import PostgresApplicationRecorder, PostgresDatastore
from psycopg.conninfo import conninfo_to_dict

from benchmarks.appends.callers import threads
from benchmarks.appends.made_up import TOPIC, MadeUp
from benchmarks.appends.measured import Contender, Slice
from varve.settings import Settings


@dataclass(frozen=True, slots=True)
class Stock:
    """Appends with the recorder from threads that share its pool."""

    recorder: PostgresApplicationRecorder
    made_up: MadeUp

    def contender(self, name: str, *, callers: int, events: int = 1) -> Contender:
        async def run(seconds: float) -> Slice:
            return await threads(lambda: self._append(events), callers=callers, seconds=seconds, events=events)

        return Contender(name, run)

    def _append(self, events: int) -> None:
        originator_id = uuid4()
        self.recorder.insert_events(
            [StoredEvent(originator_id, version, TOPIC, self.made_up.payload()) for version in range(1, events + 1)]
        )


@contextmanager
def stock(settings: Settings, connections: int) -> Iterator[Stock]:
    """Yield the recorder with a table of its own in the database, and as many connections as it will have threads."""
    url = conninfo_to_dict(settings.required_database_url())
    with PostgresDatastore(
        dbname=str(url["dbname"]),
        host=str(url["host"]),
        port=5432,
        user=str(url["user"]),
        password=str(url["password"]),
        pool_size=connections,
    ) as datastore:
        recorder = PostgresApplicationRecorder(datastore)
        recorder.create_table()
        yield Stock(recorder, MadeUp())
