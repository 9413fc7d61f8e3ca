"""Reads Markdown: the text is the source itself, so that offsets, links and code stay as written."""

import re
from collections.abc import Iterator
from itertools import accumulate

from markdown_it import MarkdownIt
from markdown_it.token import Token

from workers.documents.detection import MediaType
from workers.documents.document import Block, BlockKind, ParsedDocument
from workers.documents.formats.markdown_outline import Outlined, outline
from workers.documents.formats.markdown_tables import table_without_cells
from workers.documents.formats.plain_text import decode_clean
from workers.documents.limits import ParserLimits
from workers.documents.titles import choose_title

_KINDS = {
    "heading_open": BlockKind.HEADING,
    "paragraph_open": BlockKind.PARAGRAPH,
    "blockquote_open": BlockKind.PARAGRAPH,
    "html_block": BlockKind.PARAGRAPH,
    "bullet_list_open": BlockKind.LIST,
    "ordered_list_open": BlockKind.LIST,
    "table_open": BlockKind.TABLE,
    "fence": BlockKind.CODE,
    "code_block": BlockKind.CODE,
}
_FRONT_MATTER = re.compile(r"---\n(.*?)\n(?:---|\.\.\.)(?:\n|\Z)", re.DOTALL)
_LONGEST_HEADING = 300
_MOST_MARKS = 40
_MARK = re.compile(r"[\[\]*_`<&\\]")
# The signs with which a line opens lists and quotations, one in another, or a heading.
_CONTAINERS = re.compile(r"^[ \t]*+(?:[-+*>#][ \t]*+|\d{1,9}+[.)][ \t]*+)++", re.MULTILINE)
_FREE_COST, _CHARACTERS_PER_COST = 4_000, 8
"""Lines take the parser some 10 µs each, and so does each container that one opens: 1 s for a million characters."""
_TITLE_KEY = "title:"
_QUOTES = ("'", '"')


def parse_markdown(content: bytes, filename: str, limits: ParserLimits) -> ParsedDocument:
    """Read a Markdown file; headings keep their marks in the text and lose them in `Block.title`."""
    text = decode_clean(content, limits)
    front = _FRONT_MATTER.match(text)
    body = _masked(text, front.end()) if front else text
    blocks = _blocks(body, text)
    declared = _declared_title(front.group(1)) if front else None
    title = choose_title(declared, blocks, filename)
    return ParsedDocument(title, None, MediaType.MARKDOWN, text, blocks)


def _declared_title(front_matter: str) -> str | None:
    """Return the value of the first line that names a title, without the quotes around it."""
    for line in front_matter.split("\n"):
        if line.startswith(_TITLE_KEY) and line != _TITLE_KEY:
            value = line.removeprefix(_TITLE_KEY).strip(" \t")
            is_quoted = value[:1] in _QUOTES and value[:1] == value[-1:] and value[1:-1]
            return value[1:-1] if is_quoted else value
    return None


def _masked(text: str, end: int) -> str:
    """Front matter is no Markdown: its lines are emptied, their number kept."""
    return "\n" * text.count("\n", 0, end) + text[end:]


def _blocks(body: str, text: str) -> tuple[Block, ...]:
    lines = text.split("\n")
    starts = [0, *accumulate(len(line) + 1 for line in lines)]
    outlined = outline(body.split("\n")) if _keeps_a_parser_busy(body) else _parsed(body)
    found = []
    for each in outlined:
        start, end = _trimmed(text, starts[each.first], min(starts[each.end], len(text)))
        if start < end:
            found.append(Block(each.kind, start, end, each.level, each.title))
    return tuple(found)


def _keeps_a_parser_busy(body: str) -> bool:
    """Whether lines and the containers that they open are far more than text has."""
    opened = sum(len("".join(match.group().split())) for match in _CONTAINERS.finditer(body))
    cost = body.count("\n") + opened + body.count("|") // 4
    return cost > _FREE_COST + len(body) // _CHARACTERS_PER_COST


def _parsed(body: str) -> Iterator[Outlined]:
    """Yield the outermost blocks as CommonMark has them."""
    parser = MarkdownIt("commonmark")
    parser.block.ruler.at("table", table_without_cells, {"alt": ["paragraph", "reference"]})
    parser.enable("table")
    # Only headings are read for their words; links, emphasis and code of a long paragraph could take very long.
    parser.core.ruler.enableOnly(["normalize", "block"])
    references: dict[str, object] = {}
    tokens = parser.parse(body, references)
    for index, token in enumerate(tokens):
        kind = _KINDS.get(token.type)
        if kind is None or token.level or token.map is None:
            continue
        is_heading = kind is BlockKind.HEADING
        level = int(token.tag[1]) if is_heading else 0
        title = _words(parser, tokens[index + 1].content, references) if is_heading else ""
        yield Outlined(kind, token.map[0], token.map[1], level, title)


def _trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    piece = text[start:end]
    stripped = piece.strip()
    if not stripped:
        return start, start
    start += piece.index(stripped[0])
    return start, start + len(stripped)


def _words(parser: MarkdownIt, heading: str, references: dict[str, object]) -> str:
    """Return a heading's words without its marks; where they are very many it keeps them, which takes no time."""
    if len(heading) > _LONGEST_HEADING or len(_MARK.findall(heading)) > _MOST_MARKS:
        return " ".join(heading.split())
    inline: list[Token] = []
    parser.inline.parse(heading, parser, references, inline)
    return " ".join("".join(child.content or " " * (child.type == "softbreak") for child in inline).split())
