"""What every read model must hold, worked out from the log's JSON by the plainest means: no fold of ours is used."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.knowledge.content import Passage

Row = dict[str, Any]
Tables = dict[str, list[Row]]
Terms = Callable[[str], list[str]]
EntryPassages = Callable[[str, str], Iterable[Passage]]
DocumentPassages = Callable[[str, str], Awaitable[Iterable[Passage]]]

EVENTS = """
select tenant, position, stream, version, topic, data, metadata, recorded_at from varve.events_json order by position
"""
_CONTENT = ("name", "description", "entity_type", "category", "tags", "attributes", "visibility")
_FOUND = ("title", "language", "media_type", "characters", "pages", "chunk_count")


@dataclass(frozen=True)
class LogEvent:
    """A row of the view `varve.events_json`."""

    tenant: str
    position: int
    stream: str
    version: int
    topic: str
    data: dict[str, Any]
    metadata: dict[str, Any]
    recorded_at: datetime

    @property
    def kind(self) -> str:
        return self.topic.removeprefix("knowledge.")

    @property
    def key(self) -> tuple[str, UUID]:
        return self.tenant, UUID(self.data.get("entry_id") or self.data["document_id"])


def entry_list(events: Iterable[LogEvent]) -> Tables:
    """One row for each entry, deleted or not, and one for each of its tags."""
    entries: dict[tuple[str, UUID], Row] = {}
    for event in events:
        if not event.kind.startswith("KnowledgeEntry"):
            continue
        if event.kind == "KnowledgeEntryCreated":
            entries[event.key] = {
                "tenant": event.tenant,
                "entry_id": event.key[1],
                "owner": event.data["owner"],
                "links": [],
                "is_active": True,
                "created_at": event.recorded_at,
            }
        entry = entries[event.key]
        entry |= {name: event.data[name] for name in _CONTENT if name in event.data}
        entry |= {"version": event.version, "position": event.position, "updated_at": event.recorded_at}
        link = {name: event.data.get(name) for name in ("target_id", "relation")}
        if event.kind == "KnowledgeEntryDeleted":
            entry["is_active"] = False
        elif event.kind == "KnowledgeEntryRestored":
            entry["is_active"] = True
        elif event.kind == "KnowledgeEntryLinked":
            entry["links"] = entry["links"] + [link]
        elif event.kind == "KnowledgeEntryUnlinked":
            entry["links"] = [each for each in entry["links"] if each != link]
    tags = [
        {"tenant": entry["tenant"], "tag": tag, "entry_id": entry["entry_id"]}
        for entry in entries.values()
        for tag in entry["tags"]
    ]
    return {"entries": list(entries.values()), "tags": tags}


def document_status(events: Iterable[LogEvent]) -> Tables:
    """One row for each document, deleted or not; what was found stays until something else is found."""
    statuses = {
        "DocumentUploaded": "uploaded",
        "DocumentProcessingStarted": "processing",
        "DocumentProcessed": "processed",
        "DocumentProcessingFailed": "failed",
        "DocumentReprocessingRequested": "uploaded",
        "DocumentDeleted": "deleted",
    }
    documents: dict[tuple[str, UUID], Row] = {}
    for event in events:
        if event.kind not in statuses:
            continue
        if event.kind == "DocumentUploaded":
            documents[event.key] = {
                **event.data,
                **dict.fromkeys((*_FOUND, "reason", "message")),
                "media_type": event.data["media_type"],
                "tenant": event.tenant,
                "document_id": event.key[1],
                "attempt": 1,
                "created_at": event.recorded_at,
            }
        document = documents[event.key]
        document["status"] = statuses[event.kind]
        document |= {"version": event.version, "position": event.position, "updated_at": event.recorded_at}
        if event.kind == "DocumentProcessed":
            document |= {name: event.data[name] for name in _FOUND} | {"reason": None, "message": None}
        elif event.kind == "DocumentProcessingFailed":
            document |= {"reason": event.data["reason"], "message": event.data["message"]}
        elif event.kind == "DocumentReprocessingRequested":
            document["attempt"] = event.data["attempt"]
    return {"documents": list(documents.values())}


def user_activity(events: Iterable[LogEvent]) -> Tables:
    """One row for each event."""
    activities = [
        {
            "tenant": event.tenant,
            "user_id": event.metadata["actor"],
            "position": event.position,
            "event_type": event.kind,
            "stream": event.stream,
            "command_type": event.metadata["command_type"],
            "recorded_at": event.recorded_at,
        }
        for event in events
        if event.topic.startswith("knowledge.")
    ]
    return {"activities": activities}


@dataclass(frozen=True)
class _Chunk:
    source: Row
    number: int
    passage: Passage

    @property
    def shared(self) -> Row:
        """The columns that both legs have."""
        names = ("tenant", "source_kind", "source_id", "entity_type", "category", "tags", "owner", "visibility")
        names = (*names, "created_at", "event_position")
        embedded = self.passage.embedded.encode()
        content_hash = hashlib.sha256(embedded).digest()
        return {name: self.source[name] for name in names} | {"chunk": self.number, "content_hash": content_hash}


class SearchModel:
    """What is searched at the end of a log: the passages of what is there and not deleted."""

    def __init__(self, sources: list[Row], chunks: list[_Chunk]) -> None:
        self._sources = sources
        self._chunks = chunks

    @classmethod
    async def of(
        cls, events: Iterable[LogEvent], *, of_entry: EntryPassages, of_document: DocumentPassages
    ) -> "SearchModel":
        sources = _sources(events)
        chunks = []
        for source in sources:
            if not source["is_active"]:
                continue
            if source["source_kind"] == "entry":
                passages = of_entry(source["title"], source["body"])
            else:
                passages = await of_document(source["tenant"], source["content_sha256"])
            # A chunk's number: the position of its source's last change, and its place, 20 bits wide.
            chunks += [
                _Chunk(source, source["event_position"] * 2**20 + passage.ordinal, passage) for passage in passages
            ]
        return cls(sources, chunks)

    def text_tables(self, terms_of: Terms) -> Tables:
        """Chunks, postings, tags, document frequencies and totals, counted from scratch."""
        chunks, postings = [], []
        frequencies: Counter[tuple[str, str]] = Counter()
        totals: defaultdict[str, list[int]] = defaultdict(list)
        for chunk in self._chunks:
            tenant, title = chunk.source["tenant"], chunk.source["title"]
            terms = terms_of(title + "\n" + chunk.passage.text)
            distinct = list(dict.fromkeys(terms))
            counts = [terms.count(term) for term in distinct]
            passage = chunk.passage
            chunks.append(
                chunk.shared
                | {
                    "ordinal": passage.ordinal,
                    "title": title,
                    "heading_path": list(passage.heading_path),
                    "content": passage.text,
                    "start_offset": passage.start,
                    "end_offset": passage.end,
                    "page": passage.page,
                    "language": chunk.source["language"],
                    "length": len(terms),
                    "terms": distinct,
                    "frequencies": counts,
                }
            )
            postings += [
                {"tenant": tenant, "term": term, "chunk": chunk.number, "frequency": count, "length": len(terms)}
                for term, count in zip(distinct, counts, strict=True)
            ]
            frequencies.update((tenant, term) for term in distinct)
            totals[tenant].append(len(terms))
        return {
            "sources": self._sources,
            "chunks": chunks,
            "postings": postings,
            "tags": self._tags(),
            "terms": [
                {"tenant": tenant, "term": term, "chunks": count} for (tenant, term), count in frequencies.items()
            ],
            "stats": [
                {"tenant": tenant, "chunks": len(lengths), "total_length": sum(lengths)}
                for tenant, lengths in totals.items()
            ],
        }

    def vector_tables(self) -> Tables:
        """The same passages without their vectors, which `embedded_texts` names."""
        counts = Counter(chunk.source["tenant"] for chunk in self._chunks)
        return {
            "sources": self._sources,
            "vectors": [chunk.shared for chunk in self._chunks],
            "vector_tags": self._tags(),
            "vector_stats": [{"tenant": tenant, "chunks": count} for tenant, count in counts.items()],
        }

    def embedded_texts(self) -> dict[tuple[str, int], str]:
        """Return what each chunk's vector is of, by tenant and chunk."""
        return {(chunk.source["tenant"], chunk.number): chunk.passage.embedded for chunk in self._chunks}

    def _tags(self) -> list[Row]:
        return [
            {"tenant": chunk.source["tenant"], "tag": tag, "chunk": chunk.number}
            for chunk in self._chunks
            for tag in chunk.source["tags"]
        ]


def _sources(events: Iterable[LogEvent]) -> list[Row]:
    sources: dict[tuple[str, UUID], Row] = {}
    for event in events:
        data = event.data
        match event.kind:
            case "KnowledgeEntryCreated" | "KnowledgeEntryUpdated":
                source = sources.get(event.key) or {
                    "tenant": event.tenant,
                    "source_id": event.key[1],
                    "source_kind": "entry",
                    "is_active": True,
                    "content_sha256": None,
                    "language": None,
                    "owner": data["owner"],
                    "created_at": event.recorded_at,
                }
                described = {name: data[name] for name in ("entity_type", "category", "tags", "visibility")}
                source |= described | {"title": data["name"], "body": data["description"]}
            case "DocumentUploaded":
                source = {
                    "tenant": event.tenant,
                    "source_id": event.key[1],
                    "source_kind": "document",
                    "is_active": False,
                    "title": data["file_name"],
                    **dict.fromkeys(("body", "content_sha256", "language", "entity_type")),
                    **{name: data[name] for name in ("category", "tags", "owner", "visibility")},
                    "created_at": event.recorded_at,
                }
            case "DocumentProcessed":
                source = sources[event.key] | {name: data[name] for name in ("title", "language", "content_sha256")}
                source["is_active"] = True
            case "KnowledgeEntryDeleted" | "DocumentDeleted":
                source = sources[event.key] | {"is_active": False}
            case "KnowledgeEntryRestored":
                source = sources[event.key] | {"is_active": True}
            case _:
                continue
        sources[event.key] = source | {"event_position": event.position}
    return list(sources.values())
