"""One trace, walked: request, command, append, event, and the batch of every projection that applied it."""

import secrets
from collections.abc import Sequence
from typing import Any

import orjson
from httpx import AsyncClient
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import format_span_id, format_trace_id

from tests.builders.requests import ENTRIES
from tests.fixtures.platform import AwaitProjections

CORRELATION = "0190a000-0000-7000-8000-00000000c0de"


async def test_a_trace_leads_from_the_request_to_the_rows(
    ann: AsyncClient, engine: Any, admin: Any, await_projections: AwaitProjections, spans: InMemorySpanExporter
):
    trace_id, caller = secrets.token_hex(16), secrets.token_hex(8)
    created = await ann.post(
        ENTRIES,
        json={"name": "Clay"},
        headers={"traceparent": f"00-{trace_id}-{caller}-01", "X-Correlation-Id": CORRELATION},
    )
    assert created.status_code == 201
    await await_projections()

    finished = spans.get_finished_spans()
    request = only(finished, "http.request", trace_id)
    command = only(finished, "command.execute", trace_id)
    append = only(finished, "eventstore.append", trace_id)
    assert parent(request) == caller
    assert span_id(request) in ancestors(finished, command)
    assert span_id(command) in ancestors(finished, append)
    assert request.attributes["http.response.status_code"] == 201
    assert command.attributes["varve.command"] == "CreateKnowledgeEntry"
    assert append.attributes["varve.events"] == 1

    (stored,) = await (await admin.execute("select metadata from varve.events")).fetchone()
    metadata = orjson.loads(stored)
    assert metadata["traceparent"] == f"00-{trace_id}-{span_id(command)}-01"
    assert metadata["correlation_id"] == CORRELATION
    assert created.headers["X-Correlation-Id"] == CORRELATION
    (audit,) = await (await admin.execute("select metadata from varve.commands")).fetchone()
    assert audit == {"correlation_id": CORRELATION, "trace_id": trace_id}

    batches = {
        span.attributes["varve.projection"]: [
            (format_trace_id(link.context.trace_id), format_span_id(link.context.span_id)) for link in span.links
        ]
        for span in finished
        if span.name == "projection.batch"
    }
    assert set(batches) >= {"knowledge_entry_list", "user_activity", "search_text"}
    assert set(map(tuple, batches.values())) == {((trace_id, span_id(command)),)}


async def test_a_refused_command_has_its_trace_in_the_audit(ann: AsyncClient, admin: Any, spans: InMemorySpanExporter):
    trace_id = secrets.token_hex(16)
    refused = await ann.patch(
        f"{ENTRIES}/{CORRELATION}",
        json={"name": "x"},
        headers={"traceparent": f"00-{trace_id}-{secrets.token_hex(8)}-01"},
    )
    assert refused.status_code == 404
    (audit,) = await (await admin.execute("select metadata from varve.commands")).fetchone()
    assert audit["trace_id"] == trace_id
    assert only(spans.get_finished_spans(), "http.request", trace_id).attributes["http.response.status_code"] == 404


async def test_a_malformed_traceparent_begins_a_new_trace(ann: AsyncClient, spans: InMemorySpanExporter):
    assert (await ann.get(ENTRIES, headers={"traceparent": "nonsense"})).status_code in {200, 503}
    (request,) = [span for span in spans.get_finished_spans() if span.name == "http.request"]
    assert request.parent is None


def only(finished: Sequence[ReadableSpan], name: str, trace_id: str) -> Any:
    """Return the one span of this name in the trace."""
    (found,) = [
        span for span in finished if span.name == name and format_trace_id(span.get_span_context().trace_id) == trace_id
    ]
    return found


def span_id(span: ReadableSpan) -> str:
    return format_span_id(span.get_span_context().span_id)


def parent(span: ReadableSpan) -> str:
    assert span.parent is not None
    return format_span_id(span.parent.span_id)


def ancestors(finished: Sequence[ReadableSpan], span: ReadableSpan) -> list[str]:
    """Return the ids of the spans that `span` is within; the framework may have put spans of its own between ours."""
    by_id = {span_id(each): each for each in finished}
    found = []
    while span.parent is not None:
        found.append(format_span_id(span.parent.span_id))
        if found[-1] not in by_id:
            break
        span = by_id[found[-1]]
    return found
