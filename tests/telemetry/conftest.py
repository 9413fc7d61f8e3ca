"""The process's tracer, which may be set once: its spans are kept for this folder's tests and dropped afterwards."""

from collections.abc import Iterator

import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from varve.telemetry import install_tracer


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
