"""Small files of every kind, made here: whole, damaged and hostile ones."""

import io
import zipfile
from collections.abc import Sequence

import docx

_FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"
_PICTURE = (
    b"<< /Type /XObject /Subtype /Image /Width 1 /Height 1 /ColorSpace /DeviceGray /BitsPerComponent 8 /Length 1 >>\n"
    b"stream\n\x80\nendstream"
)


def pdf(pages: Sequence[bytes], *, title: str = "", encrypted: bool = False) -> bytes:
    """A PDF of pages with these content streams; font /F is Helvetica, picture /P a grey dot.

    An encrypted one has made-up keys, so that no password opens it, the empty one included.
    """
    kids = b" ".join(b"%d 0 R" % (6 + 2 * index) for index in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, len(pages)),
        _FONT,
        _PICTURE,
        b"<< /Title (%s) >>" % title.encode("latin-1"),
    ]
    for index, content in enumerate(pages):
        resources = b"<< /Font << /F 3 0 R >> /XObject << /P 4 0 R >> >>"
        box = b"[0 0 612 792]"
        page = b"<< /Type /Page /Parent 2 0 R /MediaBox %s /Resources %s /Contents %d 0 R >>"
        objects.append(page % (box, resources, 7 + 2 * index))
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(content), content))
    return _with_table(objects, encrypted=encrypted)


def _with_table(objects: list[bytes], *, encrypted: bool) -> bytes:
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    lock = b""
    if encrypted:
        keys = (b"a1" * 32, b"b2" * 32)
        lock = b" /Encrypt << /Filter /Standard /V 1 /R 2 /O <%s> /U <%s> /P -4 >> /ID [<aa> <aa>]" % keys
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info 5 0 R%s >>\nstartxref\n%d\n%%%%EOF\n"
    return bytes(out + trailer % (len(objects) + 1, lock, table))


def page(*lines: tuple[int, int, int, str]) -> bytes:
    """The content of a page: (x, y, font size, text) for each line."""
    texts = (b"BT /F %d Tf %d %d Td (%s) Tj ET" % (size, x, y, text.encode("latin-1")) for x, y, size, text in lines)
    return b"\n".join(texts)


PICTURE_PAGE = b"q 612 0 0 792 0 0 cm /P Do Q"


def docx_file(*paragraphs: str | tuple[str, str]) -> bytes:
    """A Word file; a pair is a style's name and the text."""
    document = docx.Document()
    for paragraph in paragraphs:
        style, text = paragraph if isinstance(paragraph, tuple) else (None, paragraph)
        document.add_paragraph(text, style=style)
    return saved(document)


def saved(document: "docx.document.Document") -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def with_body(content: bytes, body: bytes) -> bytes:
    """The Word file with another `word/document.xml`."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as source,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as target,
    ):
        for name in source.namelist():
            target.writestr(name, body if name == "word/document.xml" else source.read(name))
    return buffer.getvalue()


def zip_file(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()
