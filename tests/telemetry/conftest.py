"""The process's tracer and meter, which may be set once: what they take is kept for this folder's tests."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from varve.telemetry import install_meter, install_tracer


@pytest.fixture(scope="session")
def exporter() -> Iterator[InMemorySpanExporter]:
    kept = InMemorySpanExporter()
    provider = install_tracer("varve-tests", SimpleSpanProcessor(kept))
    yield kept
    provider.shutdown()


@pytest.fixture
def spans(exporter: InMemorySpanExporter) -> InMemorySpanExporter:
    """The spans of one test."""
    exporter.clear()
    return exporter


@pytest.fixture(scope="session")
def metric_reader() -> Iterator[InMemoryMetricReader]:
    """What the process's own instruments have measured since the first test that asked for it."""
    reader = InMemoryMetricReader()
    provider = install_meter("varve-tests", reader)
    yield reader
    provider.shutdown()
