"""What every read model must hold, worked out from the log's JSON by the plainest means: no fold of ours is used."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from uuid import UUID

from domain.knowledge.content import Passage
from tests.model import LogEvent, Model, Row

Tables = dict[str, list[Row]]
Terms = Callable[[str], list[str]]
EntryPassages = Callable[[str, str], Iterable[Passage]]
DocumentPassages = Callable[[str, str], Awaitable[Iterable[Passage]]]

EVENTS = """
select position, tenant, stream, version, topic, command_id, data, metadata, recorded_at
from varve.events_json order by position
"""


def entry_list(model: Model) -> Tables:
    """One row for each entry, deleted or not, and one for each of its tags."""
    entries = [row | {"entry_id": UUID(row["entry_id"])} for row in model.entries.values()]
    tags = [
        {"tenant": entry["tenant"], "tag": tag, "entry_id": entry["entry_id"]}
        for entry in entries
        for tag in entry["tags"]
    ]
    return {"entries": entries, "tags": tags}


def document_status(model: Model) -> Tables:
    """One row for each document, deleted or not."""
    return {"documents": [row | {"document_id": UUID(row["document_id"])} for row in model.documents.values()]}


def user_activity(model: Model) -> Tables:
    """One row for each event."""
    return {"activities": model.activities}


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
            chunks.append(_shown(chunk) | {"length": len(terms), "terms": distinct, "frequencies": counts})
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
            "vectors": [_shown(chunk) for chunk in self._chunks],
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


def _shown(chunk: _Chunk) -> Row:
    """What both legs keep of a passage."""
    passage = chunk.passage
    return chunk.shared | {
        "ordinal": passage.ordinal,
        "title": chunk.source["title"],
        "heading_path": list(passage.heading_path),
        "content": passage.text,
        "start_offset": passage.start,
        "end_offset": passage.end,
        "page": passage.page,
        "language": chunk.source["language"],
    }


def _sources(events: Iterable[LogEvent]) -> list[Row]:
    sources: dict[tuple[str, str], Row] = {}
    for event in events:
        if not event.topic.startswith("knowledge."):
            continue
        data, key = event.data, (event.tenant, event.aggregate_id)
        match event.name:
            case "KnowledgeEntryCreated" | "KnowledgeEntryUpdated":
                source = sources.get(key) or {
                    "tenant": event.tenant,
                    "source_id": UUID(event.aggregate_id),
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
                    "source_id": UUID(event.aggregate_id),
                    "source_kind": "document",
                    "is_active": False,
                    "title": data["file_name"],
                    **dict.fromkeys(("body", "content_sha256", "language", "entity_type")),
                    **{name: data[name] for name in ("category", "tags", "owner", "visibility")},
                    "created_at": event.recorded_at,
                }
            case "DocumentProcessed":
                source = sources[key] | {name: data[name] for name in ("title", "language", "content_sha256")}
                source["is_active"] = True
            case "KnowledgeEntryDeleted" | "DocumentDeleted":
                source = sources[key] | {"is_active": False}
            case "KnowledgeEntryRestored":
                source = sources[key] | {"is_active": True}
            case _:
                continue
        sources[key] = source | {"event_position": event.position}
    return list(sources.values())
