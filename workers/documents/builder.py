"""Collects a document's blocks into one text and keeps their offsets exact."""

from workers.documents.document import Block, BlockKind, Page
from workers.documents.limits import ParserLimits
from workers.documents.rejection import DocumentRejected, Reason

_SEPARATOR = "\n\n"


def require_room(characters: int, limits: ParserLimits) -> None:
    """Raise `DocumentRejected` (too_large) when a text has more characters than are stored."""
    if characters > limits.max_text_characters:
        most = f"{limits.max_text_characters:,}"
        sentence = f"The document holds more than {most} characters of text; please split it into parts."
        raise DocumentRejected(Reason.TOO_LARGE, sentence)


class TextBuilder:
    """Takes blocks whose text is already clean, in reading order, one empty line between two of them."""

    def __init__(self, limits: ParserLimits) -> None:
        self._limits = limits
        self._parts: list[str] = []
        self._length = 0
        self._blocks: list[Block] = []
        self._pages: list[Page] = []
        self._page_start: int | None = None

    def add(self, kind: BlockKind, text: str, *, level: int = 0) -> None:
        """Append a block; blank text adds nothing. A heading of level 0 is not one: give it 1 to 6."""
        text = text.strip("\n") if kind is BlockKind.CODE else text.strip()
        if not text.strip():
            return
        if self._parts:
            self._parts.append(_SEPARATOR)
            self._length += len(_SEPARATOR)
        start = self._length
        self._parts.append(text)
        self._length += len(text)
        require_room(self._length, self._limits)
        if self._page_start is None:
            self._page_start = start
        title = " ".join(text.split()) if kind is BlockKind.HEADING else ""
        self._blocks.append(Block(kind, start, self._length, level, title))

    def end_page(self) -> None:
        """Close the current page: what was added since the last one belongs to it."""
        start = self._length if self._page_start is None else self._page_start
        self._pages.append(Page(len(self._pages) + 1, start, self._length))
        self._page_start = None

    @property
    def text(self) -> str:
        return "".join(self._parts)

    @property
    def blocks(self) -> tuple[Block, ...]:
        return tuple(self._blocks)

    @property
    def pages(self) -> tuple[Page, ...]:
        return tuple(self._pages)
