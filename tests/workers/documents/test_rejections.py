"""Each reason for which a document is refused, met by a file that a user might really send."""

import hashlib
import struct

import pytest

from tests.workers.documents.samples import PICTURE_PAGE, docx_file, page, pdf, with_body, zip_file
from workers.documents.limits import ParserLimits
from workers.documents.parse import extract
from workers.documents.rejection import DocumentRejected, Reason

LIMITS = ParserLimits()
NOISE = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(150))
OLD_OFFICE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(500)
MAIL = b"From: a@example.org\r\nTo: b@example.org\r\nSubject: Hello\r\nMIME-Version: 1.0\r\n\r\nHello\r\n"


def rejection(content: bytes, filename: str, media_type: str = "", limits: ParserLimits = LIMITS) -> DocumentRejected:
    with pytest.raises(DocumentRejected) as caught:
        extract(content, filename, media_type, limits)
    return caught.value


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def locked_zip() -> bytes:
    """A ZIP file whose members say that they are encrypted."""
    content = bytearray(docx_file("secret"))
    position = content.find(b"PK\x01\x02")
    while position >= 0:
        flags = struct.unpack_from("<H", content, position + 8)[0]
        struct.pack_into("<H", content, position + 8, flags | 1)
        position = content.find(b"PK\x01\x02", position + 1)
    return bytes(content)


ENCRYPTED = {
    "a PDF with a password": (pdf([page((72, 700, 12, "secret"))], encrypted=True), "a.pdf"),
    "a Word file with a password": (OLD_OFFICE + "EncryptedPackage".encode("utf-16-le"), "a.docx"),
    "a ZIP container with a password": (locked_zip(), "a.docx"),
}
CORRUPT = {
    "a PDF cut in half": half(pdf([page((72, 700, 12, "text"))] * 20)),
    "random bytes": NOISE,
    "a PDF header before random bytes": b"%PDF-1.7\n" + NOISE + b"\nstartxref\n0\n%%EOF",
    "a PDF of no pages": pdf([]),
}
DAMAGED_WORD = {
    "random bytes": NOISE,
    "cut in half": half(docx_file("text " * 100)),
    "a body that is no XML": with_body(docx_file("text"), b"<w:document"),
    "no relationships": zip_file({"[Content_Types].xml": b"<Types/>", "word/document.xml": b"<w/>"}),
    "only its first bytes": b"PK\x03\x04",
}
UNSUPPORTED = {
    "a workbook": (zip_file({"[Content_Types].xml": b"", "xl/workbook.xml": b""}), "a.xlsx"),
    "slides": (zip_file({"[Content_Types].xml": b"", "ppt/presentation.xml": b""}), "a.pptx"),
    "a book": (zip_file({"mimetype": b"application/epub+zip", "book.opf": b""}), "a.epub"),
    "OpenDocument": (zip_file({"mimetype": b"application/vnd.oasis.opendocument.text", "content.xml": b""}), "a.odt"),
    "any archive": (zip_file({"a.txt": b"a"}), "a.zip"),
    "Rich Text": (rb"{\rtf1\ansi Hello}", "a.rtf"),
    "an old Word file": (OLD_OFFICE, "a.doc"),
    "a picture": (b"\x89PNG\r\n\x1a\n" + bytes(50), "a.png"),
    "a picture named as text": (b"\x89PNG\r\n\x1a\n" + bytes(50), "a.txt"),
    "a mail": (MAIL, "a.eml"),
    "bytes of no known kind": (NOISE, "a.bin"),
}


@pytest.mark.parametrize("what", ENCRYPTED)
def test_a_file_that_a_password_protects_is_encrypted(what):
    content, filename = ENCRYPTED[what]
    assert rejection(content, filename).reason is Reason.ENCRYPTED


@pytest.mark.parametrize("what", CORRUPT)
def test_a_damaged_pdf_is_corrupt(what):
    assert rejection(CORRUPT[what], "a.pdf", "application/pdf").reason is Reason.CORRUPT


@pytest.mark.parametrize("what", DAMAGED_WORD)
def test_a_damaged_word_file_is_corrupt(what):
    assert rejection(DAMAGED_WORD[what], "a.docx").reason is Reason.CORRUPT


@pytest.mark.parametrize("content", [b"", b" \n\t \r\n", b"\xef\xbb\xbf", "\u00a0\u3000".encode()])
@pytest.mark.parametrize("filename", ["a.txt", "a.md", "a.html", "a.csv"])
def test_a_text_file_without_a_visible_character_is_empty(content, filename):
    assert rejection(content, filename).reason is Reason.EMPTY


def test_a_word_file_without_text_is_empty():
    assert rejection(docx_file("", " "), "a.docx").reason is Reason.EMPTY


@pytest.mark.parametrize("what", UNSUPPORTED)
def test_a_format_that_is_not_read_is_unsupported(what):
    content, filename = UNSUPPORTED[what]
    assert rejection(content, filename).reason is Reason.UNSUPPORTED_FORMAT


def test_a_file_of_more_bytes_than_allowed_is_too_large():
    assert rejection(b"12345", "a.txt", limits=ParserLimits(max_bytes=4)).reason is Reason.TOO_LARGE


@pytest.mark.parametrize(
    ("content", "filename"),
    [
        (b"word " * 50, "a.txt"),
        (b"# word\n\n" * 50, "a.md"),
        (b"<html><p>word" * 50, "a.html"),
        (docx_file(*["word " * 10] * 10), "a.docx"),
        (pdf([page((72, 700, 12, "word " * 20))] * 5), "a.pdf"),
    ],
)
def test_a_file_with_more_text_than_is_stored_is_too_large(content, filename):
    assert rejection(content, filename, limits=ParserLimits(max_text_characters=100)).reason is Reason.TOO_LARGE


def test_a_word_file_that_unpacks_to_gigabytes_is_too_large_and_never_unpacked():
    bomb = with_body(docx_file("x"), b"<w:document>" + b" " * 20_000_000)
    assert len(bomb) < 100_000
    assert rejection(bomb, "a.docx").reason is Reason.TOO_LARGE


def test_a_container_of_very_many_members_is_too_large():
    crowd = zip_file({f"word/{number}.xml": b"" for number in range(60)})
    assert rejection(crowd, "a.docx", limits=ParserLimits(max_members=50)).reason is Reason.TOO_LARGE


def test_a_pdf_of_pictures_needs_ocr():
    assert rejection(pdf([PICTURE_PAGE] * 3), "scan.pdf").reason is Reason.NO_TEXT_NEEDS_OCR


def test_page_numbers_on_a_scan_do_not_make_it_readable():
    pages = [PICTURE_PAGE + b"\n" + page((300, 20, 10, f"{number}")) for number in range(1, 4)]
    assert rejection(pdf(pages), "scan.pdf").reason is Reason.NO_TEXT_NEEDS_OCR


def test_a_readable_report_with_one_page_of_picture_is_read():
    text = page((72, 700, 12, "The quarterly figures are explained on this page."))
    assert extract(pdf([text, text, PICTURE_PAGE]), "report.pdf", "", LIMITS).text


def test_a_pdf_of_blank_pages_needs_ocr_as_far_as_anyone_can_tell():
    assert rejection(pdf([b""]), "blank.pdf").reason is Reason.NO_TEXT_NEEDS_OCR


@pytest.mark.parametrize(
    "entity",
    [
        b'<!ENTITY a "aaaaaaaaaa">'
        + b"".join(b'<!ENTITY %c "%s">' % (98 + level, b"&%c;" % (97 + level) * 10) for level in range(9))
    ],
)
def test_entities_that_multiply_are_not_expanded(entity):
    body = b'<?xml version="1.0"?><!DOCTYPE w [%s]><w:document xmlns:w="urn:x"><w:t>&j;</w:t></w:document>' % entity
    assert rejection(with_body(docx_file("x"), body), "a.docx").reason in {Reason.CORRUPT, Reason.EMPTY}


def test_every_sentence_is_one_for_people():
    reasons = [rejection(*ENCRYPTED["a PDF with a password"]), rejection(NOISE, "a.pdf"), rejection(b"", "a.txt")]
    for refused in reasons:
        assert refused.sentence.endswith(".")
        assert refused.sentence[0].isupper()
        assert "Error" not in refused.sentence
