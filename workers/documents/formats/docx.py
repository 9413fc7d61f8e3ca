"""Reads DOCX: paragraphs, lists, tables, text boxes, content controls, equations and notes, in document order."""

import io
import re
import zipfile
from collections.abc import Iterator
from typing import Protocol

import docx
from docx.document import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.opc.exceptions import OpcError
from docx.opc.oxml import parse_xml

from workers.documents.builder import TextBuilder
from workers.documents.cleaning import one_line, squeeze
from workers.documents.detection import MediaType
from workers.documents.document import BlockKind, ParsedDocument
from workers.documents.limits import ParserLimits
from workers.documents.rejection import DocumentRejected, Reason
from workers.documents.titles import choose_title

_WORD = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_COMPATIBILITY = "{http://schemas.openxmlformats.org/markup-compatibility/2006}"
_SKIPPED = frozenset({f"{_WORD}del", f"{_WORD}moveFrom", f"{_WORD}pPr", f"{_WORD}rPr", f"{_WORD}instrText"})
_CONTAINERS = frozenset(
    f"{_WORD}{name}" for name in ("sdt", "sdtContent", "customXml", "ins", "moveTo", "body", "footnote", "endnote")
)
_TEXT = {f"{_WORD}t", _MATH_TEXT}
_BREAKS = {f"{_WORD}tab": "\t", f"{_WORD}br": "\n", f"{_WORD}cr": "\n", f"{_WORD}noBreakHyphen": "-"}
_TEXT_BOX = f"{_WORD}txbxContent"
_HEADING_STYLE = re.compile(r"(?:heading|überschrift|titre|标题)\s*([1-9])", re.IGNORECASE)
_CODE_STYLE = re.compile(r"\b(?:code|preformatted|source|verbatim)", re.IGNORECASE)
_DEEPEST_HEADING = 6
_LONGEST_HEADING = 300
_LONGEST_STYLE_CHAIN = 20
_OUT_OF_MEMORY = "unknown error"  # what lxml says when an allocation fails; errors in the XML have a name and a place


class _Element(Protocol):
    """What is used of an lxml element, which has no types of its own."""

    @property
    def tag(self) -> object: ...
    @property
    def text(self) -> str | None: ...
    def get(self, key: str) -> str | None: ...
    def find(self, path: str) -> "_Element | None": ...
    def iter(self, *tags: str) -> "Iterator[_Element]": ...
    def __iter__(self) -> "Iterator[_Element]": ...


def parse_docx(content: bytes, filename: str, limits: ParserLimits) -> ParsedDocument:
    """Read a Word document whose container `detect` has found tame.

    Raises:
        DocumentRejected: corrupt when a part is missing or is no XML, unsupported_format for templates with macros.
    """
    document = _open(content)
    builder = TextBuilder(limits)
    walk = _Walk(builder, _Styles(document))
    walk.container(document.element.body)
    for note_part in (RELATIONSHIP_TYPE.FOOTNOTES, RELATIONSHIP_TYPE.ENDNOTES):
        for note in _notes(document, note_part):
            walk.container(note)
    title = choose_title(document.core_properties.title or walk.title, builder.blocks, filename)
    return ParsedDocument(title, None, MediaType.DOCX, builder.text, builder.blocks)


def _open(content: bytes) -> Document:
    try:
        return docx.Document(io.BytesIO(content))
    except ValueError as error:
        if "content type" in str(error):
            sentence = "This kind of Word file (a template or one with macros) is not read; please save it as .docx."
            raise DocumentRejected(Reason.UNSUPPORTED_FORMAT, sentence) from error
        raise _corrupt() from error
    except SyntaxError as error:
        if error.msg == _OUT_OF_MEMORY:
            raise MemoryError from error
        raise _corrupt() from error
    except (OpcError, KeyError, zipfile.BadZipFile, EOFError, OSError, AttributeError) as error:
        raise _corrupt() from error


def _corrupt() -> DocumentRejected:
    sentence = "The Word document is damaged: parts of it are missing or unreadable. Please save it again and retry."
    return DocumentRejected(Reason.CORRUPT, sentence)


def _notes(document: Document, relationship_type: str) -> Iterator[_Element]:
    for relationship in document.part.rels.values():
        if relationship.reltype == relationship_type and not relationship.is_external:
            try:
                root: _Element = parse_xml(relationship.target_part.blob)
            except SyntaxError as error:
                raise _corrupt() from error
            yield from (note for note in root if note.get(f"{_WORD}type") in (None, "normal"))


class _Styles:
    """What a paragraph's style says about its role, inherited styles included."""

    def __init__(self, document: Document) -> None:
        self._by_id: dict[str, _Element] = {}
        for style in document.styles.element.iter(f"{_WORD}style"):
            identifier = style.get(f"{_WORD}styleId")
            if identifier:
                self._by_id[identifier] = style
        self._chains: dict[str, list[_Element]] = {}

    def chain(self, identifier: str | None) -> list[_Element]:
        """The style and those it is based on, nearest first; a circle ends where it closes."""
        if identifier is None:
            return []
        known = self._chains.get(identifier)
        if known is None:
            known = self._chains[identifier] = list(self._walk(identifier))
        return known

    def _walk(self, identifier: str | None) -> Iterator[_Element]:
        for _ in range(_LONGEST_STYLE_CHAIN):
            style = self._by_id.get(identifier or "")
            if style is None:
                return
            yield style
            identifier = _value(style, "basedOn")


class _Walk:
    """Walks the document's body into blocks; nesting is as deep as the XML parser allows (256)."""

    def __init__(self, builder: TextBuilder, styles: _Styles) -> None:
        self._builder = builder
        self._styles = styles
        self.title: str | None = None

    def container(self, element: _Element) -> None:
        for child in element:
            if child.tag == f"{_WORD}p":
                self._paragraph(child)
            elif child.tag == f"{_WORD}tbl":
                self._builder.add(BlockKind.TABLE, _rows(child))
            elif child.tag in _CONTAINERS:
                self.container(child)
            elif child.tag == f"{_COMPATIBILITY}AlternateContent":
                self.container(_chosen(child))

    def _paragraph(self, paragraph: _Element) -> None:
        boxes: list[_Element] = []
        text = squeeze("".join(_texts(paragraph, boxes)))
        kind, level = self._role(paragraph, text)
        self._builder.add(kind, text, level=level)
        for box in boxes:
            self.container(box)

    def _role(self, paragraph: _Element, text: str) -> tuple[BlockKind, int]:
        properties = paragraph.find(f"{_WORD}pPr")
        chain = self._styles.chain(_value(properties, "pStyle"))
        names = [_value(style, "name") or "" for style in chain]
        if names and names[0].lower() == "title":
            self.title = self.title or one_line(text)
        level = _heading_level(properties, chain, names)
        if level and text and len(text) <= _LONGEST_HEADING:
            return BlockKind.HEADING, min(level, _DEEPEST_HEADING)
        if any(_CODE_STYLE.search(name) for name in names):
            return BlockKind.CODE, 0
        if any(_numbered(holder) for holder in (properties, *(style.find(f"{_WORD}pPr") for style in chain))):
            return BlockKind.LIST, 0
        return BlockKind.PARAGRAPH, 0


def _heading_level(properties: _Element | None, chain: list[_Element], names: list[str]) -> int:
    for name in names:
        match = _HEADING_STYLE.match(name)
        if match:
            return int(match.group(1))
        if name.lower() == "title":
            return 1
    for holder in (properties, *(style.find(f"{_WORD}pPr") for style in chain)):
        outline = _value(holder, "outlineLvl")
        if outline is not None and outline.isdigit():
            return int(outline) + 1 if int(outline) < 9 else 0  # noqa: PLR2004 - 9 is "body text"
    return 0


def _numbered(properties: _Element | None) -> bool:
    numbering = properties.find(f"{_WORD}numPr") if properties is not None else None
    return numbering is not None and _value(numbering, "numId") not in (None, "0")


def _value(element: _Element | None, name: str) -> str | None:
    child = element.find(f"{_WORD}{name}") if element is not None else None
    return child.get(f"{_WORD}val") if child is not None else None


def _texts(element: _Element, boxes: list[_Element]) -> Iterator[str]:
    """Yield the runs of a paragraph; text boxes anchored in it are put aside, since they are blocks of their own."""
    for child in element:
        if child.tag in _SKIPPED:
            continue
        if child.tag in _TEXT:
            yield child.text or ""
        elif child.tag in _BREAKS:
            yield _BREAKS[str(child.tag)]
        elif child.tag == _TEXT_BOX:
            boxes.append(child)
        elif child.tag == f"{_COMPATIBILITY}AlternateContent":
            yield from _texts(_chosen(child), boxes)
        else:
            yield from _texts(child, boxes)


def _chosen(alternatives: _Element) -> _Element:
    """Word writes a text box twice, for new and for old readers: only one of them is read."""
    return next(iter(alternatives), alternatives)


def _rows(table: _Element) -> str:
    rows = []
    for row in _own(table, "tr"):
        cells = (one_line(" ".join(_cell_texts(cell))) for cell in _own(row, "tc"))
        rows.append(" | ".join(cell for cell in cells if cell))
    return "\n".join(row for row in rows if row)


def _own(element: _Element, name: str) -> Iterator[_Element]:
    """Yield the rows of a table or the cells of a row, through content controls but not into nested tables."""
    for child in element:
        if child.tag == f"{_WORD}{name}":
            yield child
        elif child.tag in _CONTAINERS:
            yield from _own(child, name)


def _cell_texts(cell: _Element) -> Iterator[str]:
    for child in cell:
        if child.tag == f"{_WORD}p":
            boxes: list[_Element] = []
            yield "".join(_texts(child, boxes))
            for box in boxes:
                yield from _cell_texts(box)
        elif child.tag == f"{_WORD}tbl":
            yield _rows(child)
        elif child.tag in _CONTAINERS:
            yield from _cell_texts(child)
