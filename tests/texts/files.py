# ruff: noqa: E501 - files are written as they are
"""Hostile files of every format, made of hostile texts or of the format's own structure."""

import io
import random
from collections.abc import Callable, Mapping
from functools import cache
from itertools import accumulate

import docx

from tests.texts.shapes import SEQUENCES, Shape
from tests.texts.steps import Step
from tests.workers.documents.samples import docx_file, page, pdf, with_body
from workers.documents.limits import ParserLimits
from workers.documents.parse import extract
from workers.documents.rejection import DocumentRejected
from workers.documents.wire import dump_answer

_MOST_CHARACTERS = 1_000_000
_LIMITS = ParserLimits()
_WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
_COLUMN = 60


def _extracted(content: bytes, filename: str) -> int:
    """Return the bytes of what the parsing process answers."""
    try:
        return len(dump_answer(extract(content, filename, "", _LIMITS)))
    except DocumentRejected:
        return 0


def _as_text(filename: str) -> Callable[[str], int]:
    return lambda text: _extracted(text.encode("utf-8", "replace"), filename)


def _units(**units: str) -> dict[str, Shape]:
    return {name.replace("_", " "): _repeated(unit) for name, unit in units.items()}


def _repeated(unit: str) -> Shape:
    return lambda length: unit * max(1, length // len(unit))


def _lines(line: Callable[[int], str], depth: int) -> Shape:
    """Lines that depend on their depth, which grows up to `depth` and begins anew."""
    period = "".join(map(line, range(depth)))
    return _repeated(period)


MARKDOWN: Mapping[str, Shape] = {
    **_units(
        items="- a\n", numbered="1. a\n", nested_items="- a\n  - b\n", item_of_items="- - - - - - - - a\n",
        quotations="> a\n", quotation_of_quotations="> > > > > > > > a\n", both="- > - > - > - > a\n",
        lazy_lines="> a\nb\n", headings="# a\n", headings_and_text="# a\n\nb\n\n", underlined="a\n===\n",
        rules="---\n", tables="|a|b|\n|-|-|\n|c|d|\n", definitions="[a]: b\n", open_definitions="[a]: b 'c\n",
        open_labels="[\n", fences="```\n", code="    a\n", code_and_blanks="    a\n\n", tags="<div>\n",
        comments="<!--\n", emphasis="*a **a ", emphasis_in_words="a_b_", links="[a](b", images="![", ticks="`a``b",
        heading_of_marks="# *a **a *a **a *a **a [a](b [a][ `a``b <a &amp;\n", hard_breaks="a  \n",
        empty_items="-\n\n", tabs="\t- a\n", pipes="|\n",
    ),
    "one heading of brackets": lambda length: "# " + "[" * length,
    "one heading of emphasis": lambda length: "# " + "*a **a " * (length // 7),
    "a wide table": lambda length: "|a" * (length // 5) + "|\n" + "|-" * (length // 5) + "|\n" + "|\n" * (length // 5),
    "a long table": lambda length: "|" + "a|" * 100 + "\n|" + "-|" * 100 + "\n" + "|x\n" * (length // 3),
    "items of growing depth": lambda length: "".join(" " * depth + "- a\n" for depth in range(int((2 * length) ** 0.5))),
    "quotations of growing depth": lambda length: "".join(">" * depth + "a\n" for depth in range(int((2 * length) ** 0.5))),
    "ticks of growing length": lambda length: "".join("`" * count + "a" for count in range(int((2 * length) ** 0.5))),
    "items of fifty depths": _lines(lambda depth: "  " * depth + "- a\n", 50),
    "front matter of blanks": lambda length: "---\ntitle: a" + " " * length + "b\n---\nx",
    "front matter without an end": lambda length: "---\n" + "--\n" * (length // 3),
    "an item and blank lines": lambda length: "- a\n" + "\n" * length,
    "a definition without an end": lambda length: "[a]: b '" + "c\n" * (length // 2),
}  # fmt: skip
HTML: Mapping[str, Shape] = {
    **_units(
        divisions="<div>", divisions_with_text="<div>a", paragraphs="<p>a", bold="<b>", bold_and_italic="<b><i>",
        bold_paragraphs="<b><p>", links="<a>", links_with_blocks="<a><div>", tables="<table>", cells="<table><tr><td>",
        rows="<tr><td>a", items="<ul><li>", closed_lists="<ul><li></ul>", navigation="<nav>", links_in_navigation="<nav>a",
        closed_navigation="<nav>a</nav>", headings="<h1>a", closed_headings="<h1>a</h1>", source="<pre>", breaks="<br>",
        definitions="<dl><dt>a<dd>b", fonts="<font>", forms="<form>", choices="<select>", scripts="<script>",
        comments="<!--", closed_comments="<!-- -->", references="&amp", ampersands="&", brackets="<", open_tags="<a ",
        ends="</p>", ends_of_nothing="</b>", formulas="<math>", drawings="<svg>", templates="<template>", buttons="<button>",
        hidden="<div hidden>", ruby="<ruby><rt>", texts_in_tables="<table>a", bold_in_tables="<table><b>",
        whole_tables="<table><tr><td>a<td>b</table>", mixed="a <b>b</b> c<p>", unknown="<x-y>",
    ),
    "bold of many kinds in paragraphs": lambda length: (
        "".join(f"<b a={number}>" for number in range(length // 16)) + "<p>x" * (length // 8)
    ),
    "attributes": lambda length: "<a " + " ".join(f"a{number}=b" for number in range(length // 8)) + ">x",
    "a long attribute": lambda length: "<a b='" + "c" * length + "'>x",
    "a table of many rows": lambda length: "<table>" + "<tr><td>a<td>b" * (length // 15) + "</table>",
    "a table of one row": lambda length: "<table><tr>" + "<td>b" * (length // 5) + "</table>",
    "a table in each cell": lambda length: "<table><tr><td>a<td>" * (length // 20),
    "paragraphs in many divisions": lambda length: "<div>" * (length // 10) + "<p>a" * (length // 8),
    "divisions in navigation": lambda length: "<nav>" * (length // 20) + "<div>a</div>" * (length // 24),
    "navigation in divisions": lambda length: "<div>" * 120 + "<nav>a</nav>" * (length // 12),
    "a declared encoding": lambda length: "<meta charset=utf-8>" + "<div>a" * (length // 6),
}  # fmt: skip


@cache
def _empty_word_file() -> bytes:
    return docx_file("x")


def _word(body: str) -> int:
    """Return what a Word file with this body becomes."""
    document = f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>'
    return _extracted(with_body(_empty_word_file(), document.encode("utf-8", "replace")), "a.docx")


def _escaped(text: str) -> str:
    legal = "".join(each if each >= " " or each in "\t\n\r" else " " for each in text)
    return legal.replace("\ufffe", "-").replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _word_of_text(text: str) -> int:
    lines = _escaped(text).split("\n")
    return _word("".join(f'<w:p><w:r><w:t xml:space="preserve">{line}</w:t></w:r></w:p>' for line in lines))


def _nested(opening: str, inside: str, closing: str, depth: int) -> Shape:
    def shape(length: int) -> str:
        return opening * depth + inside * (length // len(inside)) + closing * depth

    return shape


_PARAGRAPH = "<w:p><w:r><w:t>a</w:t></w:r></w:p>"
WORD: Mapping[str, Shape] = {
    "paragraphs": _repeated(_PARAGRAPH),
    "runs": lambda length: "<w:p>" + "<w:r><w:t>a</w:t></w:r>" * (length // 25) + "</w:p>",
    "empty paragraphs": _repeated("<w:p/>"),
    "tables": _repeated(f"<w:tbl><w:tr><w:tc>{_PARAGRAPH}</w:tc></w:tr></w:tbl>"),
    "one table": lambda length: "<w:tbl>" + f"<w:tr><w:tc>{_PARAGRAPH}</w:tc></w:tr>" * (length // 60) + "</w:tbl>",
    "a table in a table": _nested("<w:tbl><w:tr><w:tc>", _PARAGRAPH, "</w:tc></w:tr></w:tbl>", 80),
    "controls in controls": _nested("<w:sdt><w:sdtContent>", _PARAGRAPH, "</w:sdtContent></w:sdt>", 110),
    "runs in insertions": lambda length: _nested("<w:ins>", "<w:r><w:t>a</w:t></w:r>", "</w:ins>", 200)(length).join(
        ("<w:p>", "</w:p>")
    ),
    "text boxes": lambda length: "<w:p>" + f"<w:r><w:txbxContent>{_PARAGRAPH}</w:txbxContent></w:r>" * (length // 80) + "</w:p>",
    "attributes": lambda length: "<w:p " + " ".join(f'a{number}="b"' for number in range(length // 10)) + "/>" + _PARAGRAPH,
    "namespaces": lambda length: "<w:p " + " ".join(f'xmlns:a{number}="b"' for number in range(length // 16)) + "/>" + _PARAGRAPH,
    "tabs": lambda length: "<w:p><w:r>" + "<w:tab/>" * (length // 8) + "<w:t>a</w:t></w:r></w:p>",
}  # fmt: skip


def _word_of_long_style(text: str) -> int:
    """Half of the text is the name of a style, the other half are paragraphs of that style."""
    document = docx.Document()
    style = document.styles.add_style("a", 1)
    style.name = text[: len(text) // 2]
    buffer = io.BytesIO()
    document.save(buffer)
    styled = '<w:p><w:pPr><w:pStyle w:val="a"/></w:pPr><w:r><w:t>a</w:t></w:r></w:p>'
    body = styled * (len(text) // 2 // len(styled))
    content = f'<w:document xmlns:w="{_WORD}"><w:body>{body}</w:body></w:document>'
    return _extracted(with_body(buffer.getvalue(), content.encode()), "a.docx")


def _on_pages(text: str, lines_of_a_page: int) -> int:
    """The text as a PDF: lines of 60 characters, so many on a page."""
    plain = text.encode("latin-1", "replace").decode("latin-1")
    for each in "\\()\r\n":
        plain = plain.replace(each, " ")
    lines = [plain[start : start + _COLUMN] for start in range(0, len(plain), _COLUMN)]
    pages = [lines[start : start + lines_of_a_page] for start in range(0, len(lines), lines_of_a_page)]
    return _extracted(pdf([_page(each) for each in pages]), "a.pdf")


def _page(lines: list[str]) -> bytes:
    heights = accumulate([14] * len(lines), initial=0)
    return page(*((72, 780 - height, 12, line) for line, height in zip(lines, heights, strict=False)))


def _pages(text: str) -> int:
    return _on_pages(text, 50)


def _one_page(text: str) -> int:
    return _on_pages(text, len(text))


def _scattered(text: str) -> int:
    """Words at random places of one page."""
    places = random.Random(1)  # noqa: S311 - the same file each time
    words = text.encode("ascii", "replace").decode().replace("\\", " ").replace("(", " ").replace(")", " ").split() or [
        "a"
    ]
    content = page(
        *((places.randrange(600), places.randrange(780), places.choice([8, 12, 20]), each[:60]) for each in words)
    )
    return _extracted(pdf([content]), "a.pdf")


FILE_STEPS: Mapping[str, tuple[Step, Mapping[str, Shape]]] = {
    "plain text": (Step(_as_text("a.txt")), SEQUENCES),
    "CSV": (Step(_as_text("a.csv")), SEQUENCES),
    "Markdown": (Step(_as_text("a.md")), {**SEQUENCES, **MARKDOWN}),
    "HTML": (Step(_as_text("a.html")), {**SEQUENCES, **HTML}),
    # A line of one letter is a paragraph of sixty characters of XML.
    "Word of text": (Step(_word_of_text, seconds_per_million=60.0), SEQUENCES),
    "Word of structure": (Step(_word), WORD),
    "Word of a long style": (Step(_word_of_long_style), {"letters": _repeated("x"), "code": _repeated("acode")}),
    "PDF of pages": (Step(_pages), SEQUENCES),
    "PDF of one page": (Step(_one_page, 200_000), SEQUENCES),
    "PDF of scattered words": (Step(_scattered, 200_000), {"words": _repeated("word "), "hyphens": _repeated("wo- ")}),
}
