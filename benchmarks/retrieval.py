"""Measures what search finds, through the HTTP API, on sets of questions whose right answers are known.

    python benchmarks/retrieval.py FOLDER… [--as-documents] [--modes hybrid] [--queries 50] [--save NAME]

Each FOLDER holds ``docs.jsonl`` (id, title, text), ``queries.jsonl`` (id, text) and ``qrels.tsv`` (query, document,
relevance). Every document becomes an entry, or with ``--as-documents`` a text file, in a tenant of the set's own. Every
query is asked in every mode; a line of JSON for each set and mode says nDCG@10, recall@100 and milliseconds.
What is there already from an earlier run on the same system is not uploaded again.
"""

import argparse
import asyncio
import csv
import hashlib
import itertools
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.metrics import ndcg, percentile, recall
from benchmarks.record import save
from benchmarks.system import system_to_measure, until_indexed
from varve.client import ApiClient, ApiError, open_client

_MODES = ("hybrid", "text", "vector")
_USER = "benchmark"
_BATCH_ENTRIES = 200
_BATCH_CHARACTERS = 1_000_000
_UPLOADS_AT_ONCE = 4
_PAGE = 200
_DEPTH, _LIMIT = 10, 100
_PAUSE_SECONDS = 0.5
_WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Document:
    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """A set of questions: `gains` has the relevance of each judged document by the query's id."""

    name: str
    documents: Sequence[Document]
    queries: Mapping[str, str]
    gains: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, slots=True)
class Asked:
    """One answer: the ids of the set's documents, best first; no time where there was nothing to ask."""

    query: str
    ranking: Sequence[str]
    milliseconds: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", metavar="FOLDER", type=Path, nargs="+")
    parser.add_argument("--as-documents", action="store_true", help="upload text files instead of entries")
    parser.add_argument("--modes", nargs="+", choices=_MODES, default=_MODES)
    parser.add_argument("--queries", type=int, help="ask only so many queries of each set, drawn with --seed")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--concurrency", type=int, default=1, help="how many queries are asked at a time")
    parser.add_argument("--wait", type=float, default=7200.0, help="seconds that the indexing of a set may take")
    parser.add_argument("--save", metavar="NAME", help="keep the figures as benchmarks/results/NAME.json")
    arguments = parser.parse_args()
    if "VARVE_TOKEN" in os.environ and "VARVE_URL" in os.environ and len(arguments.folders) > 1:
        parser.error("VARVE_TOKEN names one tenant, in which sets would mix: give one FOLDER, or set VARVE_SECRET_KEY")
    figures = asyncio.run(measure(arguments))
    if arguments.save:
        print(save(arguments.save, " ".join(["benchmarks/retrieval.py", *_without_paths(sys.argv[1:])]), figures))


async def measure(arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Print and return the figures of each set and mode."""
    figures = []
    async with system_to_measure() as settings:
        for folder in arguments.folders:
            retrieval_set = read_set(folder)
            queries = sampled(retrieval_set.queries, arguments.queries, arguments.seed)
            kind = "documents" if arguments.as_documents else "entries"
            async with open_client(settings, tenant_of(retrieval_set, kind), _USER) as client:
                started = time.monotonic()
                upload = upload_documents if arguments.as_documents else upload_entries
                ids, position = await upload(client, retrieval_set, arguments.wait)
                await until_indexed(client, position, arguments.wait)
                seconds = time.monotonic() - started
                for mode in arguments.modes:
                    asked = await ask(client, queries, mode, ids, arguments.concurrency)
                    figure = {"set": retrieval_set.name, "uploaded_as": kind, "mode": mode, "documents": len(ids)}
                    figure |= judged(asked, retrieval_set.gains) | {"indexed_in_seconds": round(seconds, 1)}
                    print(json.dumps(figure, ensure_ascii=False), flush=True)
                    figures.append(figure)
    return figures


def read_set(folder: Path) -> RetrievalSet:
    """Read a folder; queries without any relevant document are left out."""
    gains: dict[str, dict[str, float]] = {}
    with (folder / "qrels.tsv").open(encoding="utf-8", newline="") as file:
        for query, document, relevance in itertools.islice(csv.reader(file, delimiter="\t"), 1, None):
            gains.setdefault(query, {})[document] = float(relevance)
    gains = {query: judged for query, judged in gains.items() if max(judged.values()) > 0}
    queries = {line["id"]: line["text"] for line in _lines(folder / "queries.jsonl") if line["id"] in gains}
    documents = [Document(line["id"], line["title"].strip(), line["text"]) for line in _lines(folder / "docs.jsonl")]
    return RetrievalSet(folder.resolve().name, documents, queries, gains)


def sampled(queries: Mapping[str, str], count: int | None, seed: int) -> dict[str, str]:
    """Return `count` of the queries, the same ones for the same seed; all of them when there are no more."""
    if count is None or count >= len(queries):
        return dict(queries)
    return {each: queries[each] for each in random.Random(seed).sample(sorted(queries), count)}  # noqa: S311 - a sample


def tenant_of(retrieval_set: RetrievalSet, kind: str) -> str:
    """Return a tenant that holds this very set and nothing else."""
    content = json.dumps([[each.id, each.title, each.text] for each in retrieval_set.documents])
    return f"retrieval-{kind}-{hashlib.sha256(content.encode()).hexdigest()[:16]}"


async def upload_entries(client: ApiClient, retrieval_set: RetrievalSet, _wait: float) -> tuple[dict[str, str], str]:
    """Create an entry for each document; return the documents' ids by the entries', and the log's position.

    The key of each batch follows from its content: a batch that was created before is answered with the same entries.
    """
    ids: dict[str, str] = {}
    position = ""
    for batch in _batches(retrieval_set.documents):
        entries = [{"name": each.title or each.id, "description": each.text} for each in batch]
        content = json.dumps({"entries": entries}).encode()
        headers = {"Content-Type": "application/json", "Idempotency-Key": hashlib.sha256(content).hexdigest()}
        answer, position = await client.post("/entries:batch", content=content, headers=headers)
        ids |= zip(answer["entry_ids"], (each.id for each in batch), strict=True)
    return ids, position


async def upload_documents(client: ApiClient, retrieval_set: RetrievalSet, wait: float) -> tuple[dict[str, str], str]:
    """Upload a text file for each document that has text, and wait until all are processed.

    A file is named by its place in the set, so that it says nothing; the title is its first line.
    """
    gate = asyncio.Semaphore(_UPLOADS_AT_ONCE)

    async def upload(number: int, document: Document) -> None:
        text = f"{document.title}\n\n{document.text}".strip()
        async with gate:
            try:
                await client.post("/documents", files={"file": (f"{number}.txt", text.encode(), "text/plain")})
            except ApiError as error:
                if error.code != "document-already-uploaded":
                    raise

    present = [each for each in enumerate(retrieval_set.documents) if each[1].title or each[1].text.strip()]
    known = {name for name, _ in await _listed(client)}
    await asyncio.gather(*(upload(*each) for each in present if f"{each[0]}.txt" not in known))
    await _until_processed(client, wait)
    names = {f"{number}.txt": document.id for number, document in present}
    return {document_id: names[name] for name, document_id in await _listed(client)}, await client.head()


async def ask(
    client: ApiClient, queries: Mapping[str, str], mode: str, ids: Mapping[str, str], concurrency: int
) -> list[Asked]:
    """Ask every query, `concurrency` at a time; the milliseconds are those of the whole HTTP exchange.

    Raises:
        ApiError: a leg of the search was away: its figures would be another mode's.
    """

    async def one(query: str) -> Asked:
        if not queries[query].strip():
            return Asked(query, (), None)  # CMRC 2018 has two of these: judged, so they count as unanswered
        started = time.perf_counter()
        found = await client.get("/search", q=queries[query], mode=mode, limit=_LIMIT, group_by="document")
        milliseconds = (time.perf_counter() - started) * 1000
        if found["degraded"]:
            raise ApiError(f"the search went without {found['degraded']}")
        return Asked(query, [ids[hit["source_id"]] for hit in found["hits"]], milliseconds)

    async def work(pending: Iterator[str]) -> list[Asked]:
        return [await one(query) for query in pending]

    for query in itertools.islice(queries, _WARM_UP):
        await one(query)
    pending = iter(queries)
    return list(itertools.chain(*await asyncio.gather(*(work(pending) for _ in range(concurrency)))))


def judged(asked: Sequence[Asked], gains: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """Return the figures of the answers to one set's queries in one mode."""
    times = [each.milliseconds for each in asked if each.milliseconds is not None]
    return {
        "queries": len(asked),
        f"ndcg@{_DEPTH}": round(fmean(ndcg(each.ranking, gains[each.query], _DEPTH) for each in asked), 4),
        f"recall@{_LIMIT}": round(fmean(recall(each.ranking, gains[each.query], _LIMIT) for each in asked), 4),
        "p50_ms": round(percentile(times, 50), 1),
        "p95_ms": round(percentile(times, 95), 1),
    }


async def _until_processed(client: ApiClient, seconds: float) -> None:
    position = await client.head()
    deadline = time.monotonic() + seconds
    for status in ("uploaded", "processing"):
        while (await client.get("/documents", min_position=position, status=status, limit=1))["items"]:
            if time.monotonic() > deadline:
                raise TimeoutError(f"documents are still {status} after {seconds:g} s")
            await asyncio.sleep(_PAUSE_SECONDS)


async def _listed(client: ApiClient) -> list[tuple[str, str]]:
    """Return the file name and the id of every document of the tenant that was processed or is still to be."""
    found: list[tuple[str, str]] = []
    cursor = None
    while True:
        page = await client.get("/documents", min_position=await client.head(), limit=_PAGE, cursor=cursor)
        found += [(item["file_name"], item["document_id"]) for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def _batches(documents: Sequence[Document]) -> Iterator[list[Document]]:
    batch: list[Document] = []
    characters = 0
    for document in documents:
        characters += len(document.text)
        if batch and (len(batch) == _BATCH_ENTRIES or characters > _BATCH_CHARACTERS):
            yield batch
            batch, characters = [], len(document.text)
        batch.append(document)
    if batch:
        yield batch


def _lines(path: Path) -> Iterator[dict[str, str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield json.loads(line)


def _without_paths(arguments: Sequence[str]) -> list[str]:
    """Return the arguments with folders by their names alone: where they lie on this machine says nothing."""
    return [Path(each).name if "/" in each else each for each in arguments]


if __name__ == "__main__":
    main()
