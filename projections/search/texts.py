"""What the search needs of texts: the port, which the workers' text processes implement."""

from collections.abc import Sequence
from typing import Protocol

from domain.knowledge.content import Passage
from domain.shared.terms import TermCounts
from projections.definition import NotReadyError


class TextsUnavailableError(NotReadyError):
    """What works on texts does not start just now; no text is at fault, and the lane waits."""


class Texts(Protocol):
    """Cuts and analyses texts, beside the event loop where they are long."""

    async def entry_passages(self, entries: Sequence[tuple[str, str]]) -> Sequence[Sequence[Passage]]:
        """Return the passages of each entry, given by name and description; none is longer than the model reads."""
        ...

    async def document_passages(self, tenant: str, sha256: str) -> Sequence[Passage]:
        """Return the passages of the content that was extracted from a document."""
        ...

    async def terms(self, texts: Sequence[str]) -> Sequence[TermCounts]:
        """Return the terms of each text."""
        ...
