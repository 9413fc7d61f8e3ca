"""What the read side counts; both with the attribute `varve.query`, the name of the query's class."""

from opentelemetry import metrics

_meter = metrics.get_meter("varve.queries")

cache_hits = _meter.create_counter(
    "varve.cache.hits", unit="{answer}", description="Answers that came from the cache, by its level: process or redis."
)
cache_misses = _meter.create_counter(
    "varve.cache.misses", unit="{answer}", description="Answers that the cache could have had, and had not."
)
