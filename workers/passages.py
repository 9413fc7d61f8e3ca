"""Cuts texts into the passages that are searched: by the embedding model's tokenizer, along the structure."""

from collections.abc import Sequence

from domain.knowledge.content import Passage
from domain.shared.text import Tokenizer
from workers.documents.chunking import SPECIAL_TOKENS, chunk
from workers.documents.document import Block, BlockKind, ParsedDocument
from workers.embedding.windows import embedding_texts

_ENTRY = "text/plain"


class PassageCutter:
    """Makes passages that one embedding model reads whole; safe in several threads."""

    def __init__(self, tokenizer: Tokenizer, max_tokens: int) -> None:
        """Take the model's tokenizer and its limit, special tokens included."""
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens

    def of_document(self, document: ParsedDocument, title: str) -> tuple[Passage, ...]:
        """Return a document's passages; `title` is embedded with each, empty when it says nothing of the content."""
        chunks = chunk(document, self._tokenizer, self._max_tokens)
        embedded = embedding_texts(
            document.text,
            [(each.start, each.end) for each in chunks],
            sections=[each.heading_path for each in chunks],
            title=title,
            tokenizer=self._tokenizer,
            max_tokens=self._max_tokens - SPECIAL_TOKENS,
        )
        return tuple(
            Passage(
                ordinal=each.ordinal,
                start=each.start,
                end=each.end,
                text=each.text,
                embedded=text,
                heading_path=each.heading_path,
                page=each.page,
            )
            for each, text in zip(chunks, embedded, strict=True)
        )

    def of_entry(self, name: str, description: str) -> Sequence[Passage]:
        """Return an entry's passages: one with nothing but its name when there is no description."""
        block = Block(BlockKind.PARAGRAPH, 0, len(description))
        document = ParsedDocument(name, None, _ENTRY, description, (block,) if description.strip() else ())
        passages = self.of_document(document, name)
        return passages or (Passage(ordinal=0, start=0, end=0, text="", embedded=name, heading_path=(), page=None),)
