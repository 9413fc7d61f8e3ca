"""Failures are logged at once, then once a minute with their number; all are counted."""

import psycopg
import pytest
from structlog.testing import capture_logs

from eventstore.fault_log import FaultLog
from eventstore.faults import DependencyError, Fault, fault_of
from eventstore.sqlstates import OPERATOR, Meaning


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def faults(clock) -> FaultLog:
    return FaultLog(clock=clock)


FULL = psycopg.errors.DiskFull("could not extend file")
LOST = psycopg.OperationalError("server closed the connection unexpectedly")


def test_one_line_a_minute_for_each_kind_says_how_many_there_were(faults, clock):
    with capture_logs() as logs:
        for _ in range(240):
            faults.note("lane.failed", FULL)
            faults.note("lane.database_lost", LOST)
            clock.now += 0.5
    lines = [(line["event"], line["fault"], line["times"]) for line in logs]
    assert lines == [
        ("lane.failed", "disk_full", 1),
        ("lane.database_lost", "connection_lost", 1),
        ("lane.failed", "disk_full", 120),
        ("lane.database_lost", "connection_lost", 120),
    ]


def test_another_kind_is_logged_at_once(faults):
    with capture_logs() as logs:
        faults.note("lane.failed", FULL)
        faults.note("lane.failed", psycopg.errors.OutOfMemory("out of memory"))
    assert [line["fault"] for line in logs] == ["disk_full", "out_of_memory"]


def test_what_could_not_be_stored_is_known_until_something_is(faults, clock):
    faults.note("lane.failed", FULL)
    faults.note("put", DependencyError(Fault(OPERATOR, "quota_exceeded"), "no"), service="blobs")
    faults.note("lane.failed", psycopg.errors.UndefinedTable("no such table"))
    assert faults.not_stored(60) == ["blobs: quota_exceeded", "postgresql: disk_full"]
    faults.note_stored()
    assert faults.not_stored(60) == ["blobs: quota_exceeded"]
    clock.now += 61
    assert faults.not_stored(60) == []


@pytest.mark.parametrize(
    ("error", "kind", "meaning"),
    [
        (OSError(28, "No space left on device"), "disk_full", Meaning.OPERATOR),
        (OSError(30, "Read-only file system"), "read_only", Meaning.OPERATOR),
        (FileNotFoundError(2, "No such file"), "file_not_found_error", Meaning.OF_THE_EVENT),
        (ValueError("this fold is wrong"), "value_error", Meaning.OF_THE_EVENT),
    ],
)
def test_errors_of_the_operating_system_have_a_meaning_too(error, kind, meaning):
    assert (fault_of(error).kind, fault_of(error).meaning) == (kind, meaning)
