"""The store's own metrics, and how a duration is measured; without a collector nothing is kept of them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import perf_counter

from opentelemetry import metrics

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
COUNTS = (1, 2, 5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000)
"""The boundaries of histograms: OpenTelemetry's own ones are for milliseconds."""

_meter = metrics.get_meter("varve.eventstore")

append_duration = _meter.create_histogram(
    "varve.append.duration",
    unit="s",
    description="From the asking for an append to its answer, by its outcome.",
    explicit_bucket_boundaries_advisory=SECONDS,
)
appended_events = _meter.create_counter(
    "varve.append.events", unit="{event}", description="Events that appends have added to the log."
)
batch_size = _meter.create_histogram(
    "varve.append.batch.size",
    unit="{append}",
    description="Appends that went into one transaction.",
    explicit_bucket_boundaries_advisory=COUNTS,
)


@contextmanager
def measured(histogram: metrics.Histogram, attributes: Mapping[str, str] | None = None) -> Iterator[None]:
    """Record how many seconds the block takes, with the name of what it raises as `varve.outcome`, else `ok`."""
    began = perf_counter()
    outcome = "ok"
    try:
        yield
    except BaseException as error:
        outcome = type(error).__name__
        raise
    finally:
        histogram.record(perf_counter() - began, {**(attributes or {}), "varve.outcome": outcome})
