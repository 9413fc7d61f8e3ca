"""What comes out of each format: words whole, structure kept, noise left out, offsets exact."""

import docx
import pytest
from docx.oxml import parse_xml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.workers.documents.samples import docx_file, page, pdf, saved
from workers.documents.cleaning import clean
from workers.documents.document import BlockKind, ParsedDocument
from workers.documents.formats.pdf_lines import HYPHEN, without_hyphens
from workers.documents.language import detect_language
from workers.documents.limits import ParserLimits
from workers.documents.parse import extract

LIMITS = ParserLimits()
WORD = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def read(content: bytes, filename: str, media_type: str = "") -> ParsedDocument:
    document = extract(content, filename, media_type, LIMITS)
    done = 0
    for block in document.blocks:
        assert done <= block.start < block.end <= len(document.text)
        assert document.text[block.start : block.end].strip()
        done = block.end
    return document


def blocks(document: ParsedDocument) -> list[tuple[BlockKind, int, str]]:
    return [(block.kind, block.level, document.text[block.start : block.end]) for block in document.blocks]


# --- plain text ---

SAMPLES = {
    "utf-8": "Grüße aus Köln, señor — naïve façade, 日本.",
    "utf-8-sig": "Mit Marke am Anfang.",
    "utf-16": "Text in sixteen bits, 中文 too.",
    "utf-16-le": "Text in sixteen bits without a mark.",
    "utf-32": "Text in thirty-two bits.",
    "gb18030": "自然语言处理是人工智能的一个重要方向。它研究能实现人与计算机之间有效通信的各种理论和方法。",
    "big5": "自然語言處理是人工智慧和語言學領域的分支學科。",
    "shift_jis": "これは日本語のテストです。自然言語処理は人工知能の一分野である。",
    "euc_kr": "이것은 한국어 시험입니다. 자연어 처리는 인공지능의 한 분야이다.",
    "cp1252": "Le café était déjà fermé à l’été, où qu’il aille ; garçon, élève.",
    "cp1251": "Это русский текст для проверки кодировки, он довольно короткий.",
    "koi8-r": "Это русский текст для проверки кодировки, он довольно короткий.",
}


@pytest.mark.parametrize("encoding", SAMPLES)
def test_text_is_read_in_the_encoding_that_it_is_in(encoding):
    assert read(SAMPLES[encoding].encode(encoding), "a.txt").text == SAMPLES[encoding]


def test_one_broken_byte_does_not_change_how_a_text_is_read():
    content = ("这是一段很长的中文。" * 30).encode()
    assert read(content + b"\xff" + content, "a.txt").text.count("这是一段很长的中文。") == 60


@settings(max_examples=200)
@given(st.text())
def test_clean_text_holds_nothing_that_a_database_refuses(text):
    cleaned = clean(text)
    assert "\x00" not in cleaned
    assert "\r" not in cleaned
    cleaned.encode()


def test_ligatures_are_spelled_out_and_figures_keep_their_meaning():
    assert clean("e\ufb03cient \ufb01ve x² ½ e\u0301") == "efficient five x² ½ é"


def test_paragraphs_are_what_empty_lines_separate():
    document = read(b"One\ntwo.\n\n \n  Three.\n", "a.txt")
    assert [text for _, _, text in blocks(document)] == ["One\ntwo.", "Three."]


# --- what a file is ---


@pytest.mark.parametrize(
    ("content", "filename", "declared", "media_type"),
    [
        (pdf([page((72, 700, 12, "Text of a page."))]), "report.txt", "text/plain", "application/pdf"),
        (docx_file("Text."), "report.pdf", "application/pdf", docx.opc.constants.CONTENT_TYPE.WML_DOCUMENT_MAIN[:15]),
        (b"<!DOCTYPE html><p>Not found", "paper.pdf", "application/pdf", "text/html"),
        (b"# Title", "a.md", "application/octet-stream", "text/markdown"),
        (b"# Title", "a", "text/markdown; charset=utf-8", "text/markdown"),
        (b"# Title", "a.txt", "", "text/plain"),
        (b"a,b\n1,2\n", "a.csv", "", "text/csv"),
        (b'{"a": 1}', "a.json", "application/json", "text/plain"),
    ],
)
def test_the_content_says_what_a_file_is(content, filename, declared, media_type):
    assert read(content, filename, declared).media_type.startswith(media_type)


# --- titles and languages ---


def test_a_pdf_s_title_comes_from_its_metadata():
    content = pdf([page((72, 700, 24, "Large words"), (72, 650, 10, "text " * 20))], title="The Real Title")
    assert read(content, "a.pdf").title == "The Real Title"


@pytest.mark.parametrize(
    "title", ["", "untitled", "thesis.dvi", "Microsoft Word - x.doc", "doi:10.1016/j.x", "(anonymous)"]
)
def test_a_title_that_a_program_left_is_passed_over(title):
    content = pdf(
        [page((72, 700, 24, "Large words"), (72, 650, 10, "text " * 20), (72, 638, 10, "text " * 20))], title=title
    )
    assert read(content, "a.pdf").title == "Large words"


def test_without_any_heading_the_file_s_name_is_the_title():
    assert read(b"just text", "C:\\mail\\annual_report 2024.txt").title == "annual report 2024"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("The committee decided that the report should be published before the end of the year.", "en"),
        ("Der Ausschuss hat beschlossen, dass der Bericht vor Jahresende veröffentlicht werden soll.", "de"),
        ("所有权是 Rust 用于如何管理内存的一组规则。所有程序都必须管理其使用计算机内存的方式。", "zh"),
        ("これは日本語の文章です。東京都の人口について説明します。", "ja"),
        ("이것은 한국어 문장입니다.", "ko"),
        ("1 2 3", None),
        ("x = 1", None),
    ],
)
def test_the_language_is_told_when_it_is_sure(text, language):
    assert detect_language(extract(text.encode(), "a.txt", "", LIMITS)) == language


# --- Markdown ---


def test_markdown_keeps_its_source_and_shows_its_structure():
    source = (
        "---\ntitle: The manual\n---\n# One `two` *three*\n\nText\nmore.\n\n- a\n- b\n\n```py\nx = 1\n```\n\n"
        "|a|b|\n|-|-|\n|1|2|\n"
    )
    document = read(source.encode(), "a.md")
    assert document.text == source
    assert document.title == "The manual"
    assert [(block.kind, block.level, block.title) for block in document.blocks] == [
        (BlockKind.HEADING, 1, "One two three"),
        (BlockKind.PARAGRAPH, 0, ""),
        (BlockKind.LIST, 0, ""),
        (BlockKind.CODE, 0, ""),
        (BlockKind.TABLE, 0, ""),
    ]


# --- HTML ---


def test_html_gives_what_a_reader_sees():
    source = (
        """<html><head><title>Page</title><style>p{}</style></head><body><nav>Home</nav><script>x()</script>
    <h1>Head<b>ing</b></h1><p>One <i>two</i>,\n three<br>four &amp; five</p><ul><li>a<li>b</ul><pre>x  =\n  1</pre>
    <table><tr><th>k<th>v<tr><td>1<td>2</table><noscript>no</noscript>"""
        + "<p>filler text " * 30
    )
    assert blocks(read(source.encode(), "a.html"))[:6] == [
        (BlockKind.HEADING, 1, "Heading"),
        (BlockKind.PARAGRAPH, 0, "One two, three\nfour & five"),
        (BlockKind.LIST, 0, "a"),
        (BlockKind.LIST, 0, "b"),
        (BlockKind.CODE, 0, "x  =\n  1"),
        (BlockKind.TABLE, 0, "k | v\n1 | 2"),
    ]


def test_a_page_that_is_all_navigation_keeps_it():
    assert "Contents" in read(b"<html><nav>Contents and links</nav><p>Text", "a.html").text


def test_a_table_that_lays_out_a_page_is_read_as_the_page():
    source = b"<html><table><tr><td><h1>Left</h1><p>text<td><h2>Right</h2><p>more</table>"
    kinds = [kind for kind, _, _ in blocks(read(source, "a.html"))]
    assert kinds == [BlockKind.HEADING, BlockKind.PARAGRAPH] * 2


def test_html_is_read_in_the_encoding_that_it_names_or_in_the_one_that_it_is_in():
    text = SAMPLES["gb18030"]
    named = f'<html><meta charset="gb2312"><p>{text}'.encode("gb18030")
    assert read(named, "a.html").text == read(f"<html><p>{text}".encode("gb18030"), "a.html").text == text


def test_html_nested_deeper_than_python_s_stack_is_read():
    assert read(b"<html>" + b"<div>" * 5_000 + b"text", "a.html").text == "text"


# --- DOCX ---


def test_a_word_file_keeps_headings_lists_and_tables_in_order():
    document = docx.Document()
    document.add_heading("The Book", 0)
    document.add_heading("First", 1)
    document.add_paragraph("Text.")
    document.add_paragraph("item", style="List Bullet")
    table = document.add_table(2, 2)
    for cell, text in zip((cell for row in table.rows for cell in row.cells), "abcd", strict=True):
        cell.text = text
    document.add_paragraph("After.")
    read_back = read(saved(document), "a.docx")
    assert blocks(read_back) == [
        (BlockKind.HEADING, 1, "The Book"),
        (BlockKind.HEADING, 1, "First"),
        (BlockKind.PARAGRAPH, 0, "Text."),
        (BlockKind.LIST, 0, "item"),
        (BlockKind.TABLE, 0, "a | b\nc | d"),
        (BlockKind.PARAGRAPH, 0, "After."),
    ]
    assert read_back.title == "The Book"


def test_content_controls_links_and_insertions_are_read_and_deletions_are_not():
    document = docx.Document()
    document.element.body.insert(
        0,
        parse_xml(
            f'<w:sdt xmlns:w="{WORD}"><w:sdtContent><w:p><w:r><w:t>kept</w:t><w:tab/><w:t>too</w:t></w:r>'
            "<w:ins><w:r><w:t> new</w:t></w:r></w:ins><w:del><w:r><w:delText>gone</w:delText></w:r></w:del>"
            "<w:hyperlink><w:r><w:t> link</w:t></w:r></w:hyperlink></w:p></w:sdtContent></w:sdt>"
        ),
    )
    assert read(saved(document), "a.docx").text == "kept too new link"


# --- PDF ---


def test_lines_of_a_pdf_become_paragraphs_and_headings_with_their_pages():
    first = page(
        (72, 720, 24, "A Heading"),
        (72, 680, 10, "The first line of a paragraph goes on, as paragraphs do, until its end"),
        (72, 668, 10, "is reached on the second line, which is about as long as the first one,"),
        (72, 656, 10, "and on the third."),
        (72, 620, 10, "Another paragraph."),
    )
    document = read(pdf([first, page((72, 720, 10, "The second page."))]), "a.pdf")
    assert blocks(document) == [
        (BlockKind.HEADING, 1, "A Heading"),
        (
            BlockKind.PARAGRAPH,
            0,
            (
                "The first line of a paragraph goes on, as paragraphs do, until its end is reached on the second line, "
                "which is about as long as the first one, and on the third."
            ),
        ),
        (BlockKind.PARAGRAPH, 0, "Another paragraph."),
        (BlockKind.PARAGRAPH, 0, "The second page."),
    ]
    assert [document.text[part.start : part.end][-16:] for part in document.pages] == [
        "other paragraph.",
        "The second page.",
    ]


def test_a_word_broken_at_a_line_s_end_is_whole_again():
    lines = page(
        (72, 700, 10, "They are looking for better represen-"), (72, 688, 10, "tations of the things that they know.")
    )
    assert "representations of" in read(pdf([lines]), "a.pdf").text


@pytest.mark.parametrize(
    ("broken", "written", "whole"),
    [
        (f"align{HYPHEN}ment", set(), "alignment"),
        (f"table{HYPHEN}text", {"table-text"}, "table-text"),
        (f"table{HYPHEN}text", {"table-text", "tabletext"}, "tabletext"),
        (f"Mid{HYPHEN}Atlantic", set(), "Mid-Atlantic"),
        (f"in 19{HYPHEN}20", set(), "in 19-20"),
    ],
)
def test_a_hyphen_stays_where_the_document_writes_the_word_with_one(broken, written, whole):
    assert without_hyphens(broken, frozenset(written)) == whole
