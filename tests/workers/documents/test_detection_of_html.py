"""The start of an HTML file is found in one pass, whatever stands before it."""

import time

from workers.documents.detection import MediaType, detect
from workers.documents.limits import ParserLimits


def test_many_comments_before_something_else_are_read_once():
    content = b"<!---->" * 500 + b"x"
    started = time.process_time()
    assert detect(content, "comments.txt", "text/plain", ParserLimits()) is MediaType.PLAIN
    assert time.process_time() - started < 1  # trying every split would take longer than the world has


def test_comments_and_declarations_may_come_before_the_markup():
    content = b"\n<?xml version='1.0'?>\n<!-- a > b -->\n<!-- c -->  <!DOCTYPE html><p>text"
    assert detect(content, "page", "", ParserLimits()) is MediaType.HTML
