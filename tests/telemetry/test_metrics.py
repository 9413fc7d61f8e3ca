"""What is measured, what gauges say of lanes, and that a collector gets it."""

import asyncio
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from eventstore.metrics import measured
from queries.operations.gauges import LaneGauges
from tests.builders.requests import create_entry
from tests.fixtures.http import api_process
from varve.telemetry import signal_url

VIEW = "document_status"
TAKER = "user_activity"
LEASED = "update varve.leases set owner = 'a worker', leased_until = clock_timestamp() + interval '1 hour'"
PARK = """
insert into varve.parked (projection, generation, position, tenant, partition)
values ('document_status', 1, 1, 'acme', 'acme/entry-1'), ('document_status', 1, 2, 'umbra', 'umbra/entry-2')
"""

SECOND_LANE = """
with lane as (
    insert into varve.leases (projection, generation, first_slot, last_slot) values (%(projection)s, 1, 64, 255)
    returning projection, generation, first_slot
)
insert into varve.checkpoints (projection, generation, first_slot, position) select *, 2 from lane
"""


def points(reader: InMemoryMetricReader, name: str, **wanted: str) -> list[Any]:
    """Return the data points of an instrument whose attributes, without `varve.`, are as `wanted`."""
    data = reader.get_metrics_data()
    return [
        point
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
        if all(point.attributes[f"varve.{key}"] == value for key, value in wanted.items())
    ]


async def test_appends_and_batches_are_measured(metric_reader, ann, engine, await_projections):
    await create_entry(ann)
    await await_projections(TAKER)
    (duration,) = points(metric_reader, "varve.append.duration", outcome="ok")
    assert duration.count >= 1
    assert 0 < duration.max < 10
    assert points(metric_reader, "varve.append.events")[0].value >= 1
    assert points(metric_reader, "varve.append.batch.size")[0].max == 1
    (batches,) = points(metric_reader, "varve.projection.batch.duration", projection=TAKER, outcome="ok")
    (events,) = points(metric_reader, "varve.projection.batch.events", projection=TAKER)
    assert (batches.count, events.sum) >= (1, 1)


def test_what_fails_is_measured_under_the_name_of_its_error():
    reader = InMemoryMetricReader()
    histogram = MeterProvider([reader]).get_meter("test").create_histogram("varve.test")
    with pytest.raises(KeyError), measured(histogram, {"varve.projection": VIEW}):
        raise KeyError
    (point,) = points(reader, "varve.test")
    assert dict(point.attributes) == {"varve.projection": VIEW, "varve.outcome": "KeyError"}


@pytest.fixture
def gauge_reader():
    return InMemoryMetricReader()


@pytest.fixture
def gauges(platform, gauge_reader):
    """Gauges that take ten seconds for long."""
    return LaneGauges(MeterProvider([gauge_reader]).get_meter("test"), platform.read_models, 10)


async def test_gauges_say_of_each_projection_how_its_lanes_are(gauges, gauge_reader, ann, admin):
    await create_entry(ann)
    await create_entry(ann)
    await admin.execute(LEASED)
    await admin.execute("update varve.leases set rate = 12 where projection = %s", (VIEW,))
    await admin.execute(PARK)
    await gauges.look()

    def value(name):
        (point,) = points(gauge_reader, f"varve.projection.{name}", projection=VIEW, status="live")
        return point.value

    assert (value("lag"), value("rate"), value("dead_letters"), value("lanes.without_owner")) == (2, 12, 2, 0)
    assert 0 < value("lag.duration") < 10
    assert value("checkpoint.age") > 0


async def test_a_rebuilds_progress_is_that_of_its_lanes_by_their_width(gauges, gauge_reader, ann, admin):
    for _ in range(4):
        await create_entry(ann)
    await admin.execute("update varve.generations set status = 'building' where projection = %s", (VIEW,))
    await admin.execute("update varve.leases set last_slot = 63, filled_to = 4 where projection = %s", (VIEW,))
    await admin.execute(SECOND_LANE, {"projection": VIEW})
    await gauges.look()
    (point,) = points(gauge_reader, "varve.projection.progress", projection=VIEW)
    assert (point.value, point.attributes["varve.status"]) == (0.25 * 1 + 0.75 * 0.5, "building")


async def test_an_alarm_that_is_over_is_seen_to_be(gauges, gauge_reader, admin):
    def failing():
        (point,) = points(gauge_reader, "varve.projection.alarms", projection=VIEW, alarm="failing")
        return point.value

    await admin.execute(LEASED)
    await admin.execute("update varve.leases set failures = 1")
    await gauges.look()
    assert failing() == 1
    await admin.execute("update varve.leases set failures = 0")
    await gauges.look()
    assert failing() == 0


async def test_what_could_not_be_read_is_not_shown(gauges, gauge_reader, admin):
    await gauges.look()
    assert points(gauge_reader, "varve.projection.lag")
    await admin.execute("revoke execute on function varve.head from varve_reader")
    await gauges.look()
    assert not points(gauge_reader, "varve.projection.lag")


@pytest.mark.parametrize("endpoint", ["http://c:4318", "http://c:4318/", "http://c:4318/v1/traces"])
def test_each_signal_has_its_path_below_the_collectors_address(endpoint):
    assert signal_url(endpoint, "metrics") == "http://c:4318/v1/metrics"
    assert signal_url(endpoint, "traces") == "http://c:4318/v1/traces"


@pytest.fixture
def collector() -> Iterator[tuple[str, dict[str, bytes]]]:
    """A server that takes whatever it is sent; yields its address, and what came, by path."""
    taken: dict[str, bytes] = {}

    class Taking(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            taken[self.path] = taken.get(self.path, b"") + body
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Taking) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", taken
        finally:
            server.shutdown()
            thread.join()


async def test_a_collector_gets_what_an_api_process_sees(collector, settings):
    endpoint, taken = collector
    told = settings.model_copy(update={"otlp_endpoint": endpoint, "metrics_seconds": 1.0})
    wanted = (b"varve.projection.alarms", b"http.server.request.duration")
    async with api_process(told), asyncio.timeout(20):  # it was asked whether it is ready
        while not all(name in taken.get("/v1/metrics", b"") for name in wanted):  # noqa: ASYNC110 - a thread takes it
            await asyncio.sleep(0.1)
    assert b"varve-api" in taken["/v1/metrics"]
