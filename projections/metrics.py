"""What the projection engine measures; how far lanes are is measured by queries/operations/gauges.py."""

from opentelemetry import metrics

from eventstore.metrics import COUNTS, SECONDS

_meter = metrics.get_meter("varve.projections")

batch_duration = _meter.create_histogram(
    "varve.projection.batch.duration",
    unit="s",
    description="Of one batch: fetching what it needs, its rows and its checkpoint, to the commit.",
    explicit_bucket_boundaries_advisory=SECONDS,
)
batch_events = _meter.create_histogram(
    "varve.projection.batch.events",
    unit="{event}",
    description="Events applied in one committed batch: the sum is what was applied, the count how many batches.",
    explicit_bucket_boundaries_advisory=COUNTS,
)
