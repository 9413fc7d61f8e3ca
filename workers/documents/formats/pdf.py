"""Reads PDF with PDFium: lines become paragraphs and headings by their size, gaps and right edges."""

import pypdfium2

from workers.documents.builder import TextBuilder, require_room
from workers.documents.detection import MediaType
from workers.documents.document import BlockKind, ParsedDocument
from workers.documents.formats.pdf_layout import Paragraph, body_size, heading_levels, paragraphs
from workers.documents.formats.pdf_lines import Line, page_lines, words_of
from workers.documents.limits import ParserLimits
from workers.documents.rejection import DocumentRejected, Reason
from workers.documents.titles import choose_title

_TAIL = 4096
_END_MARKS = (b"%%EOF", b"startxref")
_PICTURE = 3  # FPDF_PAGEOBJ_IMAGE
_FEWEST_CHARACTERS_BESIDE_A_PICTURE = 16
_SCANNED_SHARE = 0.5


def parse_pdf(content: bytes, filename: str, limits: ParserLimits) -> ParsedDocument:
    """Read the text layer of a PDF.

    Raises:
        DocumentRejected: encrypted, corrupt, too_large, empty, or no_text_needs_ocr when pages are pictures of text.
    """
    _require_end(content)
    document = _open(content)
    try:
        pages, scanned = _read_pages(document, limits)
        title = document.get_metadata_value("Title")
    finally:
        document.close()
    _require_text(pages, scanned)
    return _assemble(pages, title, filename, limits)


def _require_end(content: bytes) -> None:
    """PDFium repairs a file that was cut and returns what is left of it: half a document, without a word."""
    tail = content.rstrip(b"\x00\r\n \t")[-_TAIL:]
    if not any(mark in tail for mark in _END_MARKS):
        sentence = "The PDF is incomplete: its end is missing. Please upload it again."
        raise DocumentRejected(Reason.CORRUPT, sentence)


def _open(content: bytes) -> pypdfium2.PdfDocument:
    try:
        document = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if error.err_code == pypdfium2.raw.FPDF_ERR_PASSWORD:
            sentence = "The PDF is protected by a password; please upload a copy without one."
            raise DocumentRejected(Reason.ENCRYPTED, sentence) from error
        if error.err_code == pypdfium2.raw.FPDF_ERR_SECURITY:
            sentence = "The PDF is encrypted in a way that cannot be opened; please upload a copy without protection."
            raise DocumentRejected(Reason.ENCRYPTED, sentence) from error
        raise DocumentRejected(Reason.CORRUPT, "The PDF is damaged and cannot be opened.") from error
    if len(document) == 0:
        raise DocumentRejected(Reason.CORRUPT, "The PDF has no pages.")
    return document


def _read_pages(document: pypdfium2.PdfDocument, limits: ParserLimits) -> tuple[list[list[Line]], int]:
    """Return the lines of every page, and how many pages show pictures but hardly any text."""
    pages: list[list[Line]] = []
    characters, scanned = 0, 0
    for number in range(len(document)):
        try:
            page = document[number]
            lines = page_lines(page)
        except pypdfium2.PdfiumError as error:
            sentence = f"Page {number + 1} of the PDF is damaged and cannot be read."
            raise DocumentRejected(Reason.CORRUPT, sentence) from error
        length = sum(len("".join(line.text.split())) for line in lines)
        if length < _FEWEST_CHARACTERS_BESIDE_A_PICTURE and _shows_picture(page):
            scanned += 1
        page.close()
        characters += length
        require_room(characters, limits)
        pages.append(lines)
    return pages, scanned


def _shows_picture(page: pypdfium2.PdfPage) -> bool:
    return any(True for _ in page.get_objects(filter=[_PICTURE], max_depth=3))


def _require_text(pages: list[list[Line]], scanned: int) -> None:
    """Most pages being pictures means a scan: a page number or a stamp on each does not make it readable."""
    has_text = any(line.text.strip() for lines in pages for line in lines)
    if scanned > len(pages) * _SCANNED_SHARE:
        sentence = "The PDF consists of pictures of text (a scan); reading it needs OCR, which Varve does not do yet."
        raise DocumentRejected(Reason.NO_TEXT_NEEDS_OCR, sentence)
    if not has_text and scanned:
        sentence = "The PDF shows pictures but holds no text; reading it needs OCR, which Varve does not do yet."
        raise DocumentRejected(Reason.NO_TEXT_NEEDS_OCR, sentence)
    if not has_text:
        sentence = "The PDF holds no text; if its pages show some, reading it needs OCR, which Varve does not do yet."
        raise DocumentRejected(Reason.NO_TEXT_NEEDS_OCR, sentence)


def _assemble(pages: list[list[Line]], title: str | None, filename: str, limits: ParserLimits) -> ParsedDocument:
    vocabulary = words_of(pages)
    body = body_size(pages)
    grouped: list[list[Paragraph]] = [paragraphs(lines, body, vocabulary) for lines in pages]
    levels = heading_levels(grouped, body)
    builder = TextBuilder(limits)
    for page in grouped:
        for paragraph in page:
            level = levels.get(paragraph.size_step, 0) if paragraph.may_be_heading else 0
            kind = BlockKind.HEADING if level else BlockKind.PARAGRAPH
            builder.add(kind, paragraph.text, level=level)
        builder.end_page()
    chosen = choose_title(title, builder.blocks, filename)
    return ParsedDocument(chosen, None, MediaType.PDF, builder.text, builder.blocks, builder.pages)
