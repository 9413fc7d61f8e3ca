"""A long, seeded history of two tenants, made by real commands: every kind of change to entries and documents."""

import hashlib
import random
from uuid import UUID

from commands.knowledge.create_entry import CreateKnowledgeEntries, CreateKnowledgeEntry
from commands.knowledge.delete_document import DeleteDocument
from commands.knowledge.delete_entry import DeleteKnowledgeEntry
from commands.knowledge.link_entries import LinkKnowledgeEntries, UnlinkKnowledgeEntries
from commands.knowledge.process_document import (
    CompleteDocumentProcessing,
    FailDocumentProcessing,
    ProcessDocument,
)
from commands.knowledge.reprocess_document import ReprocessDocument
from commands.knowledge.restore_entry import RestoreKnowledgeEntry
from commands.knowledge.update_entry import UpdateKnowledgeEntry
from commands.knowledge.upload_document import UploadDocument
from domain.knowledge.content import DocumentContent, Passage
from domain.knowledge.document import ProcessedContent, UploadedFile
from domain.knowledge.entry import EntryChanges, Link, NewEntry
from domain.shared.access import Actor, system_actor
from domain.shared.errors import DomainError
from tests.builders import actors
from tests.projections.sending import send
from varve.bootstrap import Platform

_AUTHORS = (actors.ANN, actors.BEN, actors.EVE, actors.ANN_ELSEWHERE)
_WORDS = (
    *("clay", "silt", "varve", "lake", "glacier", "layers", "summer", "winter", "melt", "spring"),
    *("冰川", "湖", "沉积", "Eis", "café", "naïve", "1887", "layer-by-layer"),
)
_TAGS = ("clay", "silt", "ice", "冰", "two words", "C++")
_RELATIONS = ("explains", "contradicts", "cites")
_LARGEST_CONTENT = 1_000_000


class History:
    """Writes a history; what it was told to write next depends on the seed alone."""

    def __init__(self, platform: Platform, seed: int) -> None:
        self._platform = platform
        self._random = random.Random(seed)  # noqa: S311 - a history, not a secret
        self._entries: dict[str, list[UUID]] = {actor.tenant: [] for actor in _AUTHORS}
        self._documents: dict[str, list[UUID]] = {actor.tenant: [] for actor in _AUTHORS}
        self._attempts: dict[UUID, int] = {}

    async def write(self, steps: int) -> None:
        """Do every kind of step once, then `steps` more at random; refused ones are part of a history too."""
        kinds = [
            self._create,
            self._create_batch,
            self._update,
            self._retag,
            self._change_visibility,
            self._clear_category,
            self._link,
            self._unlink,
            self._delete,
            self._restore,
            self._upload,
            self._process,
            self._fail,
            self._reprocess,
            self._delete_document,
        ]
        weights = [3, 1, 6, 3, 2, 1, 4, 3, 3, 3, 3, 5, 2, 3, 1]
        for _ in range(4):
            await self._create_batch(actors.ANN)
            await self._create_batch(actors.EVE)
        for kind in [*kinds, *kinds, *self._random.choices(kinds, weights, k=steps)]:
            try:
                await kind(self._random.choice(_AUTHORS))
            except DomainError:
                continue

    async def write_until_each_begins_at(self, interval: int) -> None:
        """Go on until an entry and a document were made at positions that are multiples of `interval`."""
        for step in (self._create, self._upload):
            while await step(actors.ANN) % interval:
                pass

    def _text(self, words: int) -> str:
        return " ".join(self._random.choices(_WORDS, k=words))

    def _tags(self) -> tuple[str, ...]:
        return tuple(self._random.sample(_TAGS, self._random.randrange(4)))

    def _new(self) -> NewEntry:
        return NewEntry(
            name=self._text(3),
            description=self._text(self._random.choice([0, 5, 40])),
            entity_type=self._random.choice(["note", "person"]),
            category=self._random.choice([None, "geology", "history"]),
            tags=self._tags(),
            attributes={"years": self._random.randrange(9), "nested": {"of": ["any", None, 1.5, True]}},
            visibility=self._random.choice(["tenant", "private"]),
        )

    def _entry(self, actor: Actor) -> UUID:
        return self._random.choice(self._entries[actor.tenant])

    def _document(self, actor: Actor) -> UUID:
        return self._random.choice(self._documents[actor.tenant])

    async def _create(self, actor: Actor) -> int:
        answer = await send(self._platform, CreateKnowledgeEntry(entry=self._new()), actor)
        assert answer.aggregate_id is not None
        self._entries[actor.tenant].append(answer.aggregate_id)
        return answer.position.position

    async def _create_batch(self, actor: Actor) -> None:
        entries = tuple(self._new() for _ in range(self._random.randrange(1, 4)))
        answer = await send(self._platform, CreateKnowledgeEntries(entries=entries), actor)
        made = answer.result["entry_ids"]
        assert isinstance(made, list)
        self._entries[actor.tenant] += [UUID(str(entry_id)) for entry_id in made]

    async def _change(self, actor: Actor, changes: EntryChanges) -> None:
        await send(self._platform, UpdateKnowledgeEntry(entry_id=self._entry(actor), changes=changes), actor)

    async def _update(self, actor: Actor) -> None:
        changes = EntryChanges(
            name=self._text(2), description=self._text(12), attributes={"n": self._random.randrange(9)}
        )
        await self._change(actor, changes)

    async def _retag(self, actor: Actor) -> None:
        await self._change(actor, EntryChanges(tags=self._tags()))

    async def _change_visibility(self, actor: Actor) -> None:
        await self._change(actor, EntryChanges(visibility=self._random.choice(["tenant", "private"])))

    async def _clear_category(self, actor: Actor) -> None:
        await self._change(actor, EntryChanges(category=None))

    async def _link(self, actor: Actor) -> None:
        link = Link(target_id=self._entry(actor), relation=self._random.choice(_RELATIONS))
        await send(self._platform, LinkKnowledgeEntries(entry_id=self._entries[actor.tenant][0], link=link), actor)

    async def _unlink(self, actor: Actor) -> None:
        entry_id = self._entries[actor.tenant][0]
        for target_id in self._entries[actor.tenant]:
            for relation in _RELATIONS:
                try:
                    link = Link(target_id=target_id, relation=relation)
                    await send(self._platform, UnlinkKnowledgeEntries(entry_id=entry_id, link=link), actor)
                except DomainError:
                    continue
                return

    async def _delete(self, actor: Actor) -> None:
        await send(self._platform, DeleteKnowledgeEntry(entry_id=self._entry(actor)), actor)

    async def _restore(self, actor: Actor) -> None:
        for entry_id in self._random.sample(self._entries[actor.tenant], k=len(self._entries[actor.tenant])):
            try:
                await send(self._platform, RestoreKnowledgeEntry(entry_id=entry_id), actor)
            except DomainError:
                continue
            return

    async def _upload(self, actor: Actor) -> int:
        sha256 = hashlib.sha256(self._random.randbytes(8)).hexdigest()
        file = UploadedFile(
            file_name=f"{self._text(1)}.pdf",
            media_type="application/octet-stream",
            size=self._random.randrange(1, 9_000),
            sha256=sha256,
            category=self._random.choice([None, "reports"]),
            tags=self._tags(),
            visibility=self._random.choice(["tenant", "private"]),
        )
        answer = await send(self._platform, UploadDocument(file=file), actor)
        assert answer.aggregate_id is not None
        self._documents[actor.tenant].append(answer.aggregate_id)
        self._attempts[answer.aggregate_id] = 1
        return answer.position.position

    async def _begin(self, actor: Actor) -> UUID:
        if not self._documents[actor.tenant] or self._random.random() < 0.5:
            await self._upload(actor)
        document_id = self._documents[actor.tenant][-1]
        begin = ProcessDocument(document_id=document_id, attempt=self._attempts[document_id])
        await send(self._platform, begin, system_actor(actor.tenant))
        return document_id

    async def _process(self, actor: Actor) -> None:
        document_id = await self._begin(actor)
        command = CompleteDocumentProcessing(
            document_id=document_id, attempt=self._attempts[document_id], content=await self._content(actor.tenant)
        )
        await send(self._platform, command, system_actor(actor.tenant))

    async def _fail(self, actor: Actor) -> None:
        document_id = await self._begin(actor)
        command = FailDocumentProcessing(
            document_id=document_id, attempt=self._attempts[document_id], reason="corrupt", message="It is damaged."
        )
        await send(self._platform, command, system_actor(actor.tenant))

    async def _reprocess(self, actor: Actor) -> None:
        documents = self._documents[actor.tenant]
        for document_id in self._random.sample(documents, k=len(documents)):
            try:
                await send(self._platform, ReprocessDocument(document_id=document_id), actor)
            except DomainError:
                continue
            self._attempts[document_id] += 1
            documents.remove(document_id)
            documents.append(document_id)  # the next to be processed
            return

    async def _delete_document(self, actor: Actor) -> None:
        if self._documents[actor.tenant]:
            await send(self._platform, DeleteDocument(document_id=self._document(actor)), actor)

    async def _content(self, tenant: str) -> ProcessedContent:
        """Store what a parser could have found."""
        texts = [self._text(self._random.randrange(3, 30)) for _ in range(self._random.randrange(1, 5))]
        passages = []
        start = 0
        for ordinal, text in enumerate(texts):
            passages.append(
                Passage(
                    ordinal=ordinal,
                    start=start,
                    end=start + len(text),
                    text=text,
                    embedded=f"A title\n{text}",
                    heading_path=("Part, one", f"Section {ordinal}")[: ordinal % 3],
                    page=ordinal + 1 if ordinal % 2 else None,
                )
            )
            start += len(text) + 1
        content = DocumentContent(text="\n".join(texts), passages=tuple(passages))
        body = content.model_dump_json().encode()
        stored = await self._platform.blobs.put_bytes(tenant, body, _LARGEST_CONTENT)
        return ProcessedContent(
            title=self._text(2),
            language=self._random.choice([None, "en", "zh"]),
            media_type="application/pdf",
            characters=len(content.text),
            pages=self._random.choice([None, 3]),
            chunk_count=len(passages),
            content_sha256=stored.sha256,
        )
