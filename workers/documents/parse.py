"""Reads a document: finds its format in its content and hands it to the parser of that format."""

from collections.abc import Callable

from workers.documents.detection import MediaType, detect
from workers.documents.document import ParsedDocument
from workers.documents.limits import ParserLimits
from workers.documents.rejection import DocumentRejected, Reason


def extract(content: bytes, filename: str, declared_media_type: str, limits: ParserLimits) -> ParsedDocument:
    """Read `content` in this process and leave the language open; `parse_isolated` is for files of others.

    Raises:
        DocumentRejected: with the reason why it cannot be read.
    """
    require_size(len(content), limits)
    media_type = detect(content, filename, declared_media_type, limits)
    document = _parser(media_type)(content, filename, limits)
    if not document.text.strip():
        raise DocumentRejected(Reason.EMPTY, "The document holds no text.")
    return document


def require_size(size: int, limits: ParserLimits) -> None:
    """Raise `DocumentRejected` for a file of no bytes (empty) or of too many (too_large)."""
    if size == 0:
        raise DocumentRejected(Reason.EMPTY, "The file is empty.")
    if size > limits.max_bytes:
        sentence = f"The file is larger than {limits.max_bytes / 1024 / 1024:,.0f} MB."
        raise DocumentRejected(Reason.TOO_LARGE, sentence)


def _parser(media_type: MediaType) -> Callable[[bytes, str, ParserLimits], ParsedDocument]:
    """Each format's libraries are loaded when it is met: starting the process is most of a small file's cost."""
    match media_type:
        case MediaType.PDF:
            from workers.documents.formats.pdf import parse_pdf as parser
        case MediaType.DOCX:
            from workers.documents.formats.docx import parse_docx as parser
        case MediaType.HTML:
            from workers.documents.formats.html import parse_html as parser
        case MediaType.MARKDOWN:
            from workers.documents.formats.markdown import parse_markdown as parser
        case MediaType.CSV:
            from workers.documents.formats.plain_text import parse_csv as parser
        case MediaType.PLAIN:
            from workers.documents.formats.plain_text import parse_plain_text as parser
    return parser
