"""Inputs that a tenant may send and that cost a careless system most: by kind and name, each of a size asked for.

`neighbours.py` and the chaos run (`tests/chaos`) send the same ones. Nothing is random: one name and size make the same
bytes each time.
"""

import io
import itertools
import json
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MOST_DESCRIPTION = 1_000_000
"""Characters that the description of an entry may have."""
MOST_QUESTION = 1_000
"""Characters that a search may ask with."""
MOST_BATCH = 500
"""Entries that one request may create."""
MOST_TAGS = 50
"""Tags that an entry may have."""
MOST_BODY = 10_000_000
"""Bytes that a body may have, but for uploads."""

_WORDS = ("silt", "clay", "sand", "varve", "lake", "ice", "melt", "core")


@dataclass(frozen=True, slots=True)
class Body:
    """A request that must be refused.

    Attributes:
        path: below ``/api/v1``.
        content: of so many bytes, or a little less.
    """

    path: str
    content: Callable[[int], bytes]


@dataclass(frozen=True, slots=True)
class FileShape:
    """A file that must be processed or rejected.

    Attributes:
        suffix: of its name.
        media_type: as the client declares it.
        content: made of a first line and so many bytes, or a little less.
        reasons: for which it may be rejected; one without any must be processed.
    """

    suffix: str
    media_type: str
    content: Callable[[str, int], bytes]
    reasons: frozenset[str] = frozenset()


def _repeated(unit: str) -> Callable[[int], str]:
    """Return what fills a number of characters with `unit`, and ends with a letter, so that nothing is stripped."""
    return lambda characters: (unit * (characters // len(unit) + 1))[: max(0, characters - 1)] + "a"


def _hexadecimal(characters: int) -> str:
    """Return one word, no part of which is like another."""
    digits = (f"{number * 2_654_435_761 % 2**32:08x}" for number in itertools.count())
    return "".join(itertools.islice(itertools.chain.from_iterable(digits), characters))


def _different_words(characters: int) -> str:
    """Return words that are all different."""
    words = (f"w{number * 40_503 % 2**20:05x}{number:x}" for number in itertools.count())
    return _until(words, " ", characters)


def _until(parts: Iterator[str], separator: str, characters: int) -> str:
    """Return as many parts as fit into a number of characters."""
    taken, length = [], 0
    for part in parts:
        length += len(part) + len(separator)
        if length > characters:
            break
        taken.append(part)
    return separator.join(taken)


TEXTS: Mapping[str, Callable[[int], str]] = {
    "dots": _repeated("."),
    "one-word": _hexadecimal,
    "combining-marks": lambda characters: "e" + "\u0301" * max(0, characters - 2) + "a",
    "letters-without-blanks": _repeated("varve"),
    "blanks-between-words": _repeated("silt" + " " * 200),
    "line-ends": _repeated("\n"),
    "open-brackets": _repeated("(["),
    "questions-and-quotes": _repeated('?!"\u201d'),
    "right-to-left-marks": _repeated("\u202e\u200fa "),
    "joined-emoji": _repeated("\U0001f468\u200d\U0001f469\u200d"),
    "letters-of-chinese": _repeated("\u7eb9\u6ce5\u5c42"),
    "different-words": _different_words,
}
"""Texts of so many characters, all of them allowed."""


def _entry(**fields: Any) -> bytes:
    return json.dumps({"name": "hostile", **fields}).encode()


def _nested(size: int) -> bytes:
    depth = size // 2
    return b'{"name":"hostile","attributes":{"a":' + b"[" * depth + b"]" * depth + b"}}"


def _doubled_keys(size: int) -> bytes:
    return b"{" + b'"names":1,' * (size // 10) + b'"names":1}'


def _unknown_keys(size: int) -> bytes:
    return _entry(**{f"k{number:06}": 0 for number in range(size // 14)})


BODIES: Mapping[str, Body] = {
    "tags-of-nulls": Body("/entries", lambda size: _entry(tags=[None] * (size // 6))),
    "tags-of-numbers": Body("/entries", lambda size: _entry(tags=list(range(1_000_000, 1_000_000 + size // 9)))),
    "batch-of-empty-objects": Body("/entries:batch", lambda size: b'{"entries":[' + b"{}," * (size // 3) + b"{}]}"),
    "batch-of-wrong-entries": Body(
        "/entries:batch", lambda size: json.dumps({"entries": [{"name": 1, "tags": 1}] * (size // 25)}).encode()
    ),
    "unknown-keys": Body("/entries", _unknown_keys),
    "doubled-keys": Body("/entries", _doubled_keys),
    "deep-nesting": Body("/entries", _nested),
    "too-long-text": Body("/entries", lambda size: _entry(description="a" * max(MOST_DESCRIPTION + 1, size - 100))),
    "surrogates": Body("/entries", lambda size: b'{"name":"' + b"\\ud800" * (size // 6) + b'"}'),
    "long-number": Body("/entries", lambda size: b'{"name":"hostile","attributes":{"a":' + b"7" * size + b"}}"),
    "cut-off": Body("/entries", lambda size: b'{"name":"hostile","tags":[' + b'"a",' * (size // 4)),
    "many-attributes": Body(
        "/entries", lambda size: _entry(attributes={f"k{n}": {"a": [n, None]} for n in range(max(3_000, size // 30))})
    ),
}
"""Requests that must be refused with a status of 400 to 499, whatever their size."""


def batches(size: int) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Return lists of entries that may all be created, each list of some `size` bytes or at another limit."""
    each = size // MOST_BATCH
    tags = [f"tag {number:02}" for number in range(MOST_TAGS)]
    links = {str(number): [number] * 5 for number in range(20)}
    return {
        "of-dots": [_described(n, TEXTS["dots"](each)) for n in range(MOST_BATCH)],
        "of-one-word": [_described(n, TEXTS["one-word"](each)) for n in range(MOST_BATCH)],
        "of-different-words": [_described(n, TEXTS["different-words"](each)) for n in range(MOST_BATCH)],
        "of-combining-marks": [_described(n, TEXTS["combining-marks"](each // 2)) for n in range(MOST_BATCH)],
        "of-tags": [_described(n, "many tags") | {"tags": tags} for n in range(MOST_BATCH)],
        "of-attributes": [_described(n, "many attributes") | {"attributes": links} for n in range(MOST_BATCH)],
        "of-short-texts": [_described(n, "short") for n in range(MOST_BATCH)],
        "of-a-few-long-texts": [_described(n, TEXTS["dots"](min(MOST_DESCRIPTION, size // 8))) for n in range(8)],
    }


def corpus(count: int) -> Iterator[Mapping[str, Any]]:
    """Yield entries that hold every word of `searches`, so that all of them match every question."""
    description = f"{_until(itertools.cycle(_WORDS), ' ', 200)} {TEXTS['different-words'](MOST_QUESTION)}"
    return (_described(number, description) | {"tags": [f"tag {number % 100:02}"]} for number in range(count))


def _described(number: int, description: str) -> dict[str, Any]:
    return {"name": f"hostile {number}", "description": description}


def _page(first_line: str, inside: str) -> bytes:
    return f"<html><body><p>{first_line}</p>{inside}</body></html>".encode()


def _html(unit: str, end: str = "") -> Callable[[str, int], bytes]:
    """Return a page with `unit` again and again, and as many times `end`."""

    def content(first_line: str, size: int) -> bytes:
        count = size // len(unit + end)
        return _page(first_line, unit * count + end * count)

    return content


def _plain(shape: str) -> Callable[[str, int], bytes]:
    """Return a file with a text of so many bytes at the most: UTF-8 takes up to four for a character."""

    def content(first_line: str, size: int) -> bytes:
        text = TEXTS[shape](size)
        return f"{first_line}\n\n{text[: max(1, size * len(text) // len(text.encode()))]}\n".encode()

    return content


def _markdown(unit: str) -> Callable[[str, int], bytes]:
    return lambda first, size: f"# {first}\n\n{first}\n\n{unit * (size // len(unit))}\n".encode()


def _wide_table(first_line: str, size: int) -> bytes:
    row = "|" + "a|" * 500
    rule = "|" + "-|" * 500
    rows = f"{row}\n" * (size // len(row))
    return f"# {first_line}\n\n{first_line}\n\n{row}\n{rule}\n{rows}".encode()


def _pdf(first_line: str, lines: Sequence[str]) -> bytes:
    """Return a PDF with one page, its content compressed."""
    shown = "".join(f"({line}) Tj T*\n" for line in (first_line, *lines))
    content = zlib.compress(f"BT /F 8 Tf 9 TL 20 770 Td\n{shown}ET".encode("latin-1"))
    resources = b"<< /Font << /F 3 0 R >> >>"
    objects = (
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [4 0 R] /Count 1 >>",
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 5 0 R /Resources %s >>" % resources,
        b"<< /Filter /FlateDecode /Length %d >>\nstream\n%s\nendstream" % (len(content), content),
    )
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, each in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, each)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return bytes(out + b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, table))


_CONTENT_TYPES = (
    '<?xml version="1.0"?><Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
    '<Override PartName="/word/document.xml" ContentType='
    '"application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>'
)
_RELATIONS = (
    '<?xml version="1.0"?><Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">'
    '<Relationship Id="r1" Target="word/document.xml" Type='
    '"http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"/></Relationships>'
)


def _docx(first_line: str, inside: str) -> bytes:
    """Return a Word file with this XML behind its first paragraph."""
    namespace = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    body = f'<w:document xmlns:w="{namespace}"><w:body>{_paragraph(first_line)}{inside}</w:body></w:document>'
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (
            ("[Content_Types].xml", _CONTENT_TYPES),
            ("_rels/.rels", _RELATIONS),
            ("word/document.xml", body),
        ):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def _docx_of_tables(first_line: str, size: int) -> bytes:
    start, end = "<w:tbl><w:tr><w:tc>", "<w:p/></w:tc></w:tr></w:tbl>"
    depth = min(40, size // len(start + end))
    row = f"<w:tr><w:tc>{_paragraph('a')}</w:tc></w:tr>"
    rows = row * (size // len(row))
    return _docx(first_line, f"{start * depth}{_paragraph('a')}{end * depth}<w:tbl>{rows}</w:tbl>")


_TOO_MUCH = frozenset({"corrupt", "too_large", "timeout", "empty", "no_text_needs_ocr"})
_HTML, _MARKDOWN, _TEXT = "text/html", "text/markdown", "text/plain"
_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

FILES: Mapping[str, FileShape] = {
    "nested-markup": FileShape("html", _HTML, _html("<div>", "</div>"), _TOO_MUCH),
    "open-markup": FileShape("html", _HTML, _html("<b><i><p>a"), _TOO_MUCH),
    "entities": FileShape("html", _HTML, _html("&amp;&#x301;"), _TOO_MUCH),
    "table-in-table": FileShape("html", _HTML, _html("<table><tr><td>a", "</td></tr></table>"), _TOO_MUCH),
    "dots": FileShape("txt", _TEXT, _plain("dots")),
    "one-word": FileShape("txt", _TEXT, _plain("one-word")),
    "combining-marks": FileShape("txt", _TEXT, _plain("combining-marks")),
    "emphasis": FileShape("md", _MARKDOWN, _markdown("*a_**b__"), _TOO_MUCH),
    "open-links": FileShape("md", _MARKDOWN, _markdown("[a]("), _TOO_MUCH),
    "quotes-in-quotes": FileShape("md", _MARKDOWN, _markdown("> " * 50 + "a\n"), _TOO_MUCH),
    "wide-table": FileShape("md", _MARKDOWN, _wide_table, _TOO_MUCH),
    "long-lines": FileShape(
        "pdf", "application/pdf", lambda first, size: _pdf(first, ["." * 200] * (size // 200)), _TOO_MUCH
    ),
    "many-lines": FileShape("pdf", "application/pdf", lambda first, size: _pdf(first, ["a"] * (size // 12)), _TOO_MUCH),
    "long-paragraph": FileShape("docx", _WORD, lambda first, size: _docx(first, _paragraph("." * size)), _TOO_MUCH),
    "tables": FileShape("docx", _WORD, _docx_of_tables, _TOO_MUCH),
}
"""Files with a first line and of so many bytes when unpacked."""


def searches(characters: int = MOST_QUESTION) -> Mapping[str, Mapping[str, str | int]]:
    """Return the parameters of searches, all of them allowed, with questions of so many characters."""
    common = _until(itertools.cycle(_WORDS), " ", characters)
    different = TEXTS["different-words"](characters)
    return {
        "common-words": {"q": common, "limit": 100},
        "different-words": {"q": different, "limit": 100},
        "different-words-by-text": {"q": different, "limit": 100, "mode": "text"},
        "one-word": {"q": TEXTS["one-word"](characters)},
        "dots": {"q": TEXTS["dots"](characters), "limit": 100},
        "combining-marks": {"q": TEXTS["combining-marks"](characters)},
        "brackets": {"q": TEXTS["open-brackets"](characters)},
        "chinese": {"q": TEXTS["letters-of-chinese"](characters), "mode": "hybrid"},
        "grouped": {"q": common, "limit": 100, "group_by": "document"},
        "narrow-filter": {"q": common, "limit": 100, "tag": "tag 01", "kind": "entry", "mode": "vector"},
        "no-match": {"q": common, "limit": 100, "category": "no such category", "kind": "document"},
        "operators": {"q": _until(itertools.cycle(("a & !b", "| c:*", "<-> 'd'")), " ", characters)},
    }
