"""Measures the search through the HTTP API at 100,000 passages over 51 tenants: what it finds, and how long it takes.

    python benchmarks/search.py [--chunks 100000] [--questions 40] [--rounds 5] [--save NAME]

It starts a Varve of its own with the hashing embedder, and fills it with made-up texts that have subjects: one tenant
has half of the passages, one a fifth, 49 share the rest. Then a twentieth is deleted and another one gets other texts.
"""

import argparse
import asyncio
import itertools
import json
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean
from typing import Any
from urllib.parse import urlencode

import psycopg

from benchmarks.appends.made_up import USER
from benchmarks.appends.measured import Slice, Target, compared
from benchmarks.http_load import Connection, Reply, Request
from benchmarks.metrics import percentile
from benchmarks.record import circumstances, save
from benchmarks.searches.bare import RecordingReadModels
from benchmarks.searches.corpus import TAGS, Corpus
from benchmarks.searches.exact import Exact
from benchmarks.searches.filling import Tenant, open_filling, tenants
from benchmarks.system import own_system, until_indexed
from domain.shared.access import Actor, Role
from eventstore.stream_reader import TenantStreams
from queries.message import Asking
from queries.search.message import Search
from queries.search.records import CompletedSearch
from queries.search.search import SearchSettings, search_handler
from varve.bootstrap import embedder, event_types, token_issuer
from varve.client import open_client
from varve.pools import open_pool
from varve.settings import Settings
from workers.text_analyzer import TextAnalyzer

_DEPTH, _MOST = 10, 100
_LEAST_SHARE = 0.98
_MOST_TIME = 1.5
_WARM_UP_ROUNDS = 5
"""PostgreSQL plans a statement anew for the first times that a connection asks it, and the API has eight of them."""
_WAIT_SECONDS = 3600.0
_FILTERS = (None, *TAGS)
_GRAPH = "search_vector_1_vectors_embedding_idx"


@dataclass(frozen=True, slots=True)
class Api:
    """The search as one tenant's user asks it, over one connection."""

    tenant: str
    connection: Connection

    @classmethod
    async def open(cls, system: Settings, tenant: str, user: str = "reader") -> "Api":
        token = token_issuer(system).issue(_user(tenant, user), timedelta(hours=12))
        return cls(tenant, await Connection.open(f"http://{system.api_host}:{system.api_port}", token))

    async def search(self, question: str, tag: str | None, mode: str = "hybrid", limit: int = _DEPTH) -> dict[str, Any]:
        """Return the answer; errors are those of `answer_of`."""
        return answer_of(await self.connection.send(_request(question, tag, mode, limit)))


def answer_of(reply: Reply) -> dict[str, Any]:
    """Return the answer of a search.

    Raises:
        AssertionError: a leg was away: the figures would be another mode's.
    """
    answer: dict[str, Any] = json.loads(reply.body)
    assert answer["degraded"] == []
    return answer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=100_000, help="how many passages there are in all")
    parser.add_argument("--questions", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--save", metavar="NAME", help="keep the figures as benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    print(json.dumps(circumstances()), flush=True)
    figures = asyncio.run(measure(arguments.chunks, arguments.questions, arguments.rounds))
    if arguments.save:
        print(save(arguments.save, " ".join(["benchmarks/search.py", *sys.argv[1:]]), figures))


async def measure(chunks: int, count: int, rounds: int) -> list[dict[str, Any]]:
    """Print and return every figure."""
    figures: list[dict[str, Any]] = []

    def note(figure: dict[str, Any]) -> None:
        print(json.dumps(figure), flush=True)
        figures.append(figure)

    questions = list(itertools.islice(Corpus(seed=2).questions(), count))
    async with AsyncExitStack() as stack:
        system = await stack.enter_async_context(own_system(Settings(embedder="hashing", log_level="warning")))
        filled = tenants(chunks)
        admin = await psycopg.AsyncConnection.connect(system.required_database_url(), autocommit=True)
        await stack.enter_async_context(admin)
        note(await _fill(system, filled, admin))
        for tenant in (filled[0], filled[1], filled[-1]):
            api = await Api.open(system, tenant.name)
            generations = (await api.search(questions[0], None))["generations"]
            exact = Exact(admin, generations, embedder(system), TextAnalyzer())
            for tag in _FILTERS:
                for figure in await _found(api, exact, tenant, tag, questions):
                    note(figure)
            for tag in _FILTERS:
                for figure in await _timed(system, tenant.name, tag, questions, rounds):
                    note(figure)
            api.connection.close()
    return figures


async def _fill(system: Settings, filled: Sequence[Tenant], admin: psycopg.AsyncConnection[Any]) -> dict[str, Any]:
    """Fill the tenants; the graph is made when their vectors are there, as after a bulk load, and then changed."""
    seconds = [time.perf_counter()]
    async with open_filling(system) as filling, open_client(system, filled[0].name, USER) as client:
        cursor = await admin.execute("select indexdef from pg_indexes where indexname = %s", (_GRAPH,))
        ((make_graph,),) = await cursor.fetchall()
        await admin.execute(f"drop index read_models.{_GRAPH}")
        await filling.create(filled)
        await until_indexed(client, await client.head(), _WAIT_SECONDS)
        seconds.append(time.perf_counter())
        await admin.execute("set maintenance_work_mem = '512MB'")
        await admin.execute(make_graph)
        seconds.append(time.perf_counter())
        await filling.change(filled)
        await until_indexed(client, await client.head(), _WAIT_SECONDS)
        await admin.execute("analyze")  # no vacuum: what was deleted is still in the graph and among the postings
        seconds.append(time.perf_counter())
    created, graph, changed = (round(after - before) for before, after in itertools.pairwise(seconds))
    return {
        "row": "search",
        "what": "filling",
        "passages": sum(tenant.passages for tenant in filled),
        "created_in_seconds": created,
        "graph_made_in_seconds": graph,
        "changed_in_seconds": changed,
    }


async def _found(
    api: Api, exact: Exact, tenant: Tenant, tag: str | None, questions: Sequence[str]
) -> list[dict[str, Any]]:
    """Compare the two legs' best ten with the right ones, and count the hits of every mode."""
    shares: dict[str, list[float]] = {"vector": [], "text": []}
    too_few = 0
    for question in questions:
        matching = 0
        for mode, asked in shares.items():
            best = await exact.best(mode, tenant.name, question, tag, _DEPTH)
            matching = max(matching, best.matching)
            hits = {limit: (await api.search(question, tag, mode, limit))["hits"] for limit in (_DEPTH, _MOST)}
            too_few += sum(len(some) < min(limit, best.matching) for limit, some in hits.items())
            asked.append(best.share([hit["scores"][mode] for hit in hits[_DEPTH]]))
        for limit in (_DEPTH, _MOST):
            too_few += len((await api.search(question, tag, limit=limit))["hits"]) < min(limit, matching)
    described = {"row": "search", "tenant": tenant.name, "passages": tenant.passages, "tag": tag}
    shares_found = [
        {
            "what": f"{mode}: share of the best ten that is found",
            "share": round(fmean(found), 4),
            "target": f"≥ {_LEAST_SHARE}",
            "is_reached": fmean(found) >= _LEAST_SHARE,
        }
        for mode, found in shares.items()
    ]
    missing = {"what": "answers with fewer hits than there are", "answers": too_few, "target": "0"}
    return [described | each for each in (*shares_found, missing | {"is_reached": too_few == 0})]


async def _timed(
    system: Settings, tenant: str, tag: str | None, questions: Sequence[str], rounds: int
) -> list[dict[str, Any]]:
    """Compare the API's time with that of its statements alone; each round has a user of its own: nothing is kept."""
    async with open_pool(system, "varve_reader", 4) as pool:
        models = RecordingReadModels(pool)
        asking = Asking(_user(tenant, "reader"), models, TenantStreams(pool, event_types()))
        search = search_handler(embedder(system), TextAnalyzer(), SearchSettings(), _Unnoted())
        recorded = [
            await models.statements(search, Search(q=each, tag=tag, limit=_DEPTH), asking) for each in questions
        ]
    with psycopg.connect(system.role_url("varve_reader"), autocommit=True) as connection:
        slices: dict[str, list[Slice]] = {"hybrid search through the API": [], "its SQL alone": []}
        for number in range(-_WARM_UP_ROUNDS, rounds):
            through, alone = [], []
            api = await Api.open(system, tenant, f"reader {tag} {number}")
            for question, each in zip(questions, recorded, strict=True):
                started = time.perf_counter()
                reply = await api.connection.send(_request(question, tag))
                answered = time.perf_counter()
                each.run(connection)
                through.append((answered - started) * 1000)
                alone.append((time.perf_counter() - answered) * 1000)
                answer_of(reply)
            api.connection.close()
            if number >= 0:
                for taken, milliseconds in zip(slices.values(), (through, alone), strict=True):
                    taken.append(Slice.of(sum(milliseconds) / 1000, milliseconds))
    row = "search"
    described = {"tenant": tenant, "tag": tag}
    target = Target(*slices, "≤", _MOST_TIME, of="p50_ms")
    times = [
        {"row": row, "what": name, "p50_ms": round(percentile([each.p50_ms or 0 for each in taken], 50), 2)} | described
        for name, taken in slices.items()
    ]
    return [*times, compared(row, target, slices) | described]


def _request(question: str, tag: str | None, mode: str = "hybrid", limit: int = _DEPTH) -> Request:
    parameters: dict[str, Any] = {"q": question, "mode": mode, "limit": limit}
    if tag is not None:
        parameters["tag"] = tag
    return Request("GET", f"/api/v1/search?{urlencode(parameters)}")


class _Unnoted:
    def note(self, search: CompletedSearch) -> None:
        """Do nothing: what is recorded is the statements."""


def _user(tenant: str, user: str) -> Actor:
    return Actor(tenant=tenant, user=user, roles=frozenset({Role.READER}))


if __name__ == "__main__":
    main()
