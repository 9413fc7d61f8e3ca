"""Finds out what a file is from its content; its name and declared type only decide between kinds of text."""

import io
import re
import zipfile
from enum import StrEnum
from pathlib import PurePosixPath

from workers.documents.encoding import is_utf8_text
from workers.documents.limits import ParserLimits
from workers.documents.rejection import DocumentRejected, Reason


class MediaType(StrEnum):
    """The media types of the formats that are read."""

    PDF = "application/pdf"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    HTML = "text/html"
    MARKDOWN = "text/markdown"
    CSV = "text/csv"
    PLAIN = "text/plain"


_READ = "Varve reads PDF, DOCX, HTML, Markdown, CSV and plain text."
_PDF_HEADER_WITHIN = 1024
_OLE_HEADER = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ENCRYPTED_OFFICE = "EncryptedPackage".encode("utf-16-le")
_ZIP_HEADERS = (b"PK\x03\x04", b"PK\x05\x06")
_ENCRYPTED_MEMBER = 0x1
_RATIO_MATTERS_ABOVE = 1024 * 1024
_HEAD = 4096
_NAMED_BINARY = {
    "pdf": MediaType.PDF.value,
    "docx": MediaType.DOCX.value,
}
_NAMED_TEXT = {
    "md": MediaType.MARKDOWN,
    "markdown": MediaType.MARKDOWN,
    "mdx": MediaType.MARKDOWN,
    "csv": MediaType.CSV,
    "htm": MediaType.HTML,
    "html": MediaType.HTML,
    "xhtml": MediaType.HTML,
}
_DECLARED_TEXT = {
    "text/markdown": MediaType.MARKDOWN,
    "text/x-markdown": MediaType.MARKDOWN,
    "text/csv": MediaType.CSV,
    "text/html": MediaType.HTML,
    "application/xhtml+xml": MediaType.HTML,
}
_SIGNATURES = (
    (b"{\\rtf", "a Rich Text document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"II*\x00", "a picture"),
    (b"MM\x00*", "a picture"),
    (b"\x1f\x8b", "a compressed archive"),
    (b"BZh", "a compressed archive"),
    (b"7z\xbc\xaf\x27\x1c", "a compressed archive"),
    (b"Rar!", "a compressed archive"),
    (b"\xfd7zXZ", "a compressed archive"),
    (b"\x7fELF", "a program"),
    (b"%!PS", "a PostScript file"),
)
_ZIP_KINDS = (
    ("xl/", "an Excel workbook"),
    ("ppt/", "a PowerPoint presentation"),
    ("Index/", "an Apple iWork document"),
)
_MIMETYPE_MEMBER = "mimetype"
_MIMETYPE_KINDS = (
    ("application/epub+zip", "an EPUB book"),
    ("application/vnd.oasis.opendocument", "an OpenDocument file"),
)
_HTML_START = re.compile(
    # Possessive: comments that could be split in many ways would otherwise all be tried.
    rb"(?:\s++|<!--(?:(?!-->).)*+-->|<\?xml[^>]*+>)*+<(?:!doctype\s+html|html|head|body)\b",
    re.IGNORECASE | re.DOTALL,
)
# A line ends in one way, and what was read is not given back: else each CRLF would double the ways that are tried.
_MAIL_START = re.compile(rb"(?:[A-Za-z][A-Za-z0-9-]*+:[ \t][^\n]*+\n(?:[ \t][^\n]*+\n)*+){2,}+")
_MAIL_HEADERS = (b"from:", b"mime-version:", b"message-id:", b"received:", b"subject:", b"date:")
_FEWEST_MAIL_HEADERS = 3


def detect(content: bytes, filename: str, declared_media_type: str, limits: ParserLimits) -> MediaType:
    """Return what `content` is.

    Raises:
        DocumentRejected: encrypted, corrupt, too_large (a ZIP bomb) or unsupported_format.
    """
    extension = PurePosixPath(filename.replace("\\", "/")).suffix.lower().removeprefix(".")
    declared = declared_media_type.partition(";")[0].strip().lower()
    if b"%PDF-" in content[:_PDF_HEADER_WITHIN]:
        return MediaType.PDF
    if content.startswith(_OLE_HEADER):
        raise _old_office(content)
    if content.startswith(_ZIP_HEADERS):
        return _inside_zip(content, limits)
    for signature, name in _SIGNATURES:
        if content.startswith(signature):
            raise _unsupported(name)
    _require_what_the_name_says(content, extension, declared)
    if _is_mail(content):
        raise _unsupported("an e-mail message")
    return _kind_of_text(content, extension, declared)


def _kind_of_text(content: bytes, extension: str, declared: str) -> MediaType:
    if _HTML_START.match(content[:_HEAD]):
        return MediaType.HTML
    return _NAMED_TEXT.get(extension) or _DECLARED_TEXT.get(declared) or MediaType.PLAIN


def _require_what_the_name_says(content: bytes, extension: str, declared: str) -> None:
    """A file named .pdf that is neither a PDF nor plainly text is a damaged PDF, not an unknown format."""
    named = _NAMED_BINARY.get(extension) or (declared if declared in _NAMED_BINARY.values() else None)
    if named is None or is_utf8_text(content):
        return
    name = "PDF" if named == MediaType.PDF else "Word document"
    sentence = f"The file is named as a {name}, but its content is not one; it may have been damaged on the way."
    raise DocumentRejected(Reason.CORRUPT, sentence)


def _is_mail(content: bytes) -> bool:
    start = _MAIL_START.match(content[:_HEAD])
    if start is None:
        return False
    header = b"\n" + start.group().lower()
    return sum(b"\n" + name in header for name in _MAIL_HEADERS) >= _FEWEST_MAIL_HEADERS


def _old_office(content: bytes) -> DocumentRejected:
    if _ENCRYPTED_OFFICE in content:
        sentence = "The document is protected by a password; please upload a copy without one."
        return DocumentRejected(Reason.ENCRYPTED, sentence)
    return _unsupported("a document of an old Office format")


def _inside_zip(content: bytes, limits: ParserLimits) -> MediaType:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = archive.infolist()
            _require_tame(members, limits)
            return _kind_of_zip(archive, [member.filename for member in members])
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, OSError, ValueError) as error:
        sentence = "The file is damaged or incomplete: its container cannot be opened. Please upload it again."
        raise DocumentRejected(Reason.CORRUPT, sentence) from error


def _require_tame(members: list[zipfile.ZipInfo], limits: ParserLimits) -> None:
    if any(member.flag_bits & _ENCRYPTED_MEMBER for member in members):
        sentence = "The file is protected by a password; please upload a copy without one."
        raise DocumentRejected(Reason.ENCRYPTED, sentence)
    unpacked = sum(member.file_size for member in members)
    is_bomb = any(
        member.file_size > _RATIO_MATTERS_ABOVE
        and member.file_size > member.compress_size * limits.max_compression_ratio
        for member in members
    )
    if is_bomb or unpacked > limits.max_unpacked_bytes or len(members) > limits.max_members:
        sentence = "The file unpacks to far more than its own size and was not opened."
        raise DocumentRejected(Reason.TOO_LARGE, sentence)


def _kind_of_zip(archive: zipfile.ZipFile, names: list[str]) -> MediaType:
    if "[Content_Types].xml" in names and any(name.startswith("word/") for name in names):
        return MediaType.DOCX
    if _MIMETYPE_MEMBER in names:
        mimetype = archive.read(_MIMETYPE_MEMBER)[:100].decode("ascii", errors="replace")
        for prefix, name in _MIMETYPE_KINDS:
            if mimetype.startswith(prefix):
                raise _unsupported(name)
    for prefix, name in _ZIP_KINDS:
        if any(member.startswith(prefix) for member in names):
            raise _unsupported(name)
    raise _unsupported("a ZIP archive")


def _unsupported(what: str) -> DocumentRejected:
    return DocumentRejected(Reason.UNSUPPORTED_FORMAT, f"This is {what}, which Varve does not read yet. {_READ}")


def not_text() -> DocumentRejected:
    """The rejection of bytes that are text in no known encoding."""
    sentence = f"The content of this file is not of a format that Varve knows. {_READ}"
    return DocumentRejected(Reason.UNSUPPORTED_FORMAT, sentence)
