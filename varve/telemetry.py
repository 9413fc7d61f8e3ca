"""Sets up logs, traces and metrics: one JSON line for each fact; spans and metrics to a collector if there is one."""

import logging
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Literal, TextIO

import structlog
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider, sampling
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import format_span_id, format_trace_id
from structlog.typing import EventDict, WrappedLogger

from varve.settings import Settings


def set_up(settings: Settings, service: str, stream: TextIO | None = None) -> TracerProvider:
    """Configure this process's logs and traces, and return the tracer provider to shut down at its end."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _add_trace,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=max(level, logging.WARNING), stream=stream or sys.stderr, force=True)
    # A line for each attempt to connect; varve/pools.py says so once a minute.
    logging.getLogger("psycopg.pool").setLevel(logging.CRITICAL)
    processors: list[SpanProcessor] = []
    if settings.otlp_endpoint is not None:
        processors.append(BatchSpanProcessor(OTLPSpanExporter(endpoint=signal_url(settings.otlp_endpoint, "traces"))))
    return install_tracer(service, *processors)


@contextmanager
def of_process(settings: Settings, service: str) -> Iterator[None]:
    """Set up for as long as the block, at whose end, however it comes, the spans and metrics that wait are sent."""
    with ExitStack() as stack:
        stack.callback(set_up(settings, service).shutdown)
        if settings.otlp_endpoint is not None:
            exporter = OTLPMetricExporter(endpoint=signal_url(settings.otlp_endpoint, "metrics"))
            reader = PeriodicExportingMetricReader(exporter, export_interval_millis=settings.metrics_seconds * 1000)
            stack.callback(install_meter(service, reader).shutdown)
        yield


def install_tracer(service: str, *processors: SpanProcessor) -> TracerProvider:
    """Make this process's tracer, with `processors` that take its spans; without any, a span is its ids alone."""
    sampler = sampling.ALWAYS_ON if processors else sampling.ALWAYS_OFF
    provider = TracerProvider(sampler, _resource(service))
    for processor in processors:
        provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    return provider


def install_meter(service: str, *readers: MetricReader) -> MeterProvider:
    """Make what collects this process's metrics, with `readers` that take them; instruments made before are found."""
    provider = MeterProvider(metric_readers=readers, resource=_resource(service))
    metrics.set_meter_provider(provider)
    return provider


def signal_url(endpoint: str, signal: Literal["traces", "metrics"]) -> str:
    """Return where a collector takes a signal; `endpoint` is its base, or the URL of its traces."""
    return f"{endpoint.rstrip('/').removesuffix('/v1/traces')}/v1/{signal}"


def _resource(service: str) -> Resource:
    instance = f"{socket.gethostname()}:{os.getpid()}"
    return Resource.create({"service.name": service, "service.instance.id": instance})


def _add_trace(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        event["trace_id"] = format_trace_id(context.trace_id)
        event["span_id"] = format_span_id(context.span_id)
    return event
