"""Reads HTML: what a reader sees of the page, without scripts, styles and navigation."""

import re
from dataclasses import dataclass, field

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from workers.documents.builder import TextBuilder
from workers.documents.cleaning import clean, one_line, squeeze
from workers.documents.detection import MediaType
from workers.documents.document import BlockKind, ParsedDocument
from workers.documents.encoding import decode
from workers.documents.formats.html_nesting import bounded
from workers.documents.limits import ParserLimits
from workers.documents.rejection import DocumentRejected, Reason
from workers.documents.titles import choose_title

_NOISE = (
    "script, style, noscript, template, svg, iframe, object, embed, canvas, video, audio, map, head, select, button, "
    "annotation, [hidden], input, .katex-html, link, meta"
)
_NAVIGATION = "nav, [role=navigation], [role=search], .navbox, .mw-editsection, [aria-hidden=true]"
_LARGEST_NAVIGATION_SHARE = 0.05
_BLOCKS = frozenset(
    {
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hgroup",
        "hr",
        "html",
        "legend",
        "main",
        "menu",
        "nav",
        "ol",
        "optgroup",
        "option",
        "p",
        "section",
        "summary",
        "tbody",
        "td",
        "tfoot",
        "th",
        "thead",
        "tr",
        "ul",
    }
)
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_HEAD = 1024  # where the HTML standard looks for an encoding
_LONGEST_HEADING = 300
_LONGEST_CELL = 1_000
_FLOW_IN_TABLE = "table, h1, h2, h3, h4, h5, h6, pre, ul, ol, blockquote"
_FLOW = re.compile(r"[ \t\r\n\f]+")


def parse_html(content: bytes, filename: str, limits: ParserLimits) -> ParsedDocument:
    """Read a page.

    Navigation is only left out where it is a small part of the text: some pages are all navigation, and words that
    stay cost less than words that are lost.
    """
    try:
        tree = LexborHTMLParser(bounded(_source(content)), encoding=True)
    except (SelectolaxError, ValueError) as error:
        raise DocumentRejected(Reason.CORRUPT, "The HTML of this page cannot be read.") from error
    metadata = _text_of(tree, "title") or _text_of(tree, "h1")
    body = tree.body or tree.root
    if body is None:
        raise DocumentRejected(Reason.EMPTY, "The page is empty.")
    _remove(body, _NOISE)
    everything = _length(body)
    navigation = sum(_length(node) for node in _outermost(body.css(_NAVIGATION)))
    if navigation <= everything * _LARGEST_NAVIGATION_SHARE:
        _remove(body, _NAVIGATION)
    builder = TextBuilder(limits)
    _Walk(builder).run(body)
    title = choose_title(metadata, builder.blocks, filename)
    return ParsedDocument(title, None, MediaType.HTML, builder.text, builder.blocks)


def _source(content: bytes) -> bytes | str:
    """A page that names no encoding gets the guess for text files; one that does is left to the HTML rules."""
    if b"charset" in content[:_HEAD].lower():
        return content
    text = decode(content)
    return content if text is None else text


def _text_of(tree: LexborHTMLParser, selector: str) -> str:
    node = tree.css_first(selector)
    return one_line(node.text()) if node is not None else ""


def _length(node: LexborNode) -> int:
    return len("".join((node.text() or "").split()))


def _outermost(nodes: list[LexborNode]) -> list[LexborNode]:
    """Return the nodes that are in none of the others; each node above them is looked at once."""
    known = {node.mem_id for node in nodes}
    clear: set[int] = set()
    return [node for node in nodes if not _has_ancestor_in(node, known, clear)]


def _has_ancestor_in(node: LexborNode, known: set[int], clear: set[int]) -> bool:
    """Whether one of `known` is above; what was passed on the way is in it from then on, else in `clear`."""
    passed: list[int] = []
    above = node.parent
    while above is not None and above.mem_id not in clear:
        if above.mem_id in known:
            known.update(passed)
            return True
        passed.append(above.mem_id)
        above = above.parent
    clear.update(passed)
    return False


def _remove(body: LexborNode, selector: str) -> None:
    for node in _outermost(body.css(selector)):
        if node.mem_id != body.mem_id:
            node.decompose()


@dataclass
class _Walk:
    """Walks the tree without recursion: pages may nest deeper than Python does."""

    builder: TextBuilder
    _inline: list[str] = field(default_factory=list)
    _items: int = 0

    def run(self, body: LexborNode) -> None:
        node = body.first_child
        while node is not None:
            node = self._enter(node) or self._after(node, body)
        self._flush()

    def _after(self, node: LexborNode, body: LexborNode) -> LexborNode | None:
        """The next node in document order that is not inside this one, its parents left on the way."""
        while node.next is None:
            parent = node.parent
            if parent is None or parent.mem_id == body.mem_id:
                return None
            self._leave(parent)
            node = parent
        return node.next

    def _enter(self, node: LexborNode) -> LexborNode | None:
        """Take what the node is and return its first child when the walk goes on inside it."""
        if node.is_text_node:
            self._inline.append(_FLOW.sub(" ", node.text_content or ""))
            return None
        if not node.is_element_node:
            return None
        tag = node.tag or ""
        if tag == "br":
            self._inline.append("\n")
        elif tag in _HEADINGS:
            self._whole(BlockKind.HEADING, one_line(_flow_text(node)), _HEADINGS[tag])
            return None
        elif tag == "pre":
            self._whole(BlockKind.CODE, clean(node.text()))
            return None
        elif tag == "table" and _is_data_table(node):
            self._whole(BlockKind.TABLE, _rows(node))
            return None
        elif tag == "li":
            self._flush()
            self._items += 1
        elif tag in _BLOCKS:
            self._flush()
        if node.first_child is None:
            self._leave(node)
        return node.first_child

    def _leave(self, node: LexborNode) -> None:
        if node.tag == "li":
            self._flush()
            self._items -= 1
        elif node.tag in _BLOCKS:
            self._flush()

    def _whole(self, kind: BlockKind, text: str, level: int = 0) -> None:
        self._flush()
        if kind is BlockKind.HEADING and len(text) > _LONGEST_HEADING:
            kind, level = BlockKind.PARAGRAPH, 0
        self.builder.add(kind, text, level=level)

    def _flush(self) -> None:
        text = squeeze("".join(self._inline))
        self._inline.clear()
        for part in text.split("\n\n"):
            self.builder.add(BlockKind.LIST if self._items else BlockKind.PARAGRAPH, part)


def _flow_text(node: LexborNode) -> str:
    return _FLOW.sub(" ", node.text(separator=""))


def _is_data_table(table: LexborNode) -> bool:
    """Old pages lay out their columns with tables: those hold other blocks, or a page's text in one cell."""
    if table.css(_FLOW_IN_TABLE)[1:] or len(table.css("tr")) * len(table.css("td, th")) <= 1:
        return False
    return all(_length(cell) <= _LONGEST_CELL for cell in table.css("td, th"))


def _rows(table: LexborNode) -> str:
    rows = [one_line(_cell_text(caption)) for caption in table.css("caption")]
    for row in table.css("tr"):
        cells = [one_line(_cell_text(cell)) for cell in row.css("td, th")]
        rows.append(" | ".join(cell for cell in cells if cell))
    return "\n".join(row for row in rows if row)


def _cell_text(cell: LexborNode) -> str:
    """Blocks inside a cell are separated by a blank, inline elements by nothing."""
    parts = []
    for node in cell.traverse(include_text=True):
        if node.is_text_node:
            parts.append(node.text_content or "")
        elif node.tag in _BLOCKS or node.tag in {"br", "li", *_HEADINGS}:
            parts.append(" ")
    return "".join(parts)
