"""Every file of the evaluation data is read, or refused, as its users expect: see `tests/expected_ingest.jsonl`."""

import asyncio
import os
from collections import Counter
from pathlib import Path

import orjson
import pytest

from workers.documents.chunking import chunk
from workers.documents.isolation import parse_isolated
from workers.documents.limits import ParserLimits
from workers.documents.rejection import DocumentRejected
from workers.embedding.tokenizer import PatternTokenizer

ROOT = Path(__file__).parents[3]
DOCUMENTS = Path(os.environ.get("VARVE_DATA", ROOT.parent / "shared" / "data")).absolute() / "documents"
EXPECTED = [orjson.loads(line) for line in (ROOT / "tests" / "expected_ingest.jsonl").read_bytes().splitlines()]
AT_ONCE = 2

pytestmark = pytest.mark.skipif(not DOCUMENTS.is_dir(), reason=f"no evaluation data in {DOCUMENTS}")


async def outcome_of(name: str, at_once: asyncio.Semaphore) -> dict[str, object]:
    async with at_once:
        try:
            document = await parse_isolated(DOCUMENTS / name, name, "", ParserLimits())
        except DocumentRejected as rejection:
            return {"file": name, "outcome": "failed", "reason": str(rejection.reason), "chars": 0, "not_blank": 0}
    chunks = chunk(document, PatternTokenizer(), 256)
    assert chunks
    assert document.title.strip()
    assert "\x00" not in document.text
    not_blank = len("".join(document.text.split()))
    return {"file": name, "outcome": "processed", "reason": None, "chars": len(document.text), "not_blank": not_blank}


def short_of(expected: dict[str, object], actual: dict[str, object]) -> str | None:
    """What is wrong with the outcome, None when it is as expected."""
    if (actual["outcome"], actual["reason"]) != (expected["outcome"], expected["reason"]):
        return f"{expected['file']}: expected {expected['outcome']} {expected['reason']}, got {actual}"
    if actual["chars"] < expected["min_chars"] or actual["not_blank"] < expected.get("min_chars_not_blank", 0):
        return f"{expected['file']}: too little text, {actual}"
    return None


@pytest.mark.slow
async def test_every_file_of_the_evaluation_data_has_the_outcome_that_is_expected_of_it():
    at_once = asyncio.Semaphore(AT_ONCE)
    actual = await asyncio.gather(*(outcome_of(entry["file"], at_once) for entry in EXPECTED))
    wrong = [short_of(entry, outcome) for entry, outcome in zip(EXPECTED, actual, strict=True)]
    assert [text for text in wrong if text] == []


def test_the_expectations_name_every_file_of_the_manifest_and_no_other():
    manifest = [orjson.loads(line)["file"] for line in (DOCUMENTS / "MANIFEST.jsonl").read_bytes().splitlines()]
    assert sorted(entry["file"] for entry in EXPECTED) == sorted(manifest)


def test_the_expectations_demand_nine_tenths_of_the_manifest_s_characters_unless_they_say_why_not():
    lines = (DOCUMENTS / "MANIFEST.jsonl").read_bytes().splitlines()
    counted = {entry["file"]: entry.get("chars") or 0 for entry in map(orjson.loads, lines)}
    lower = [
        entry["file"]
        for entry in EXPECTED
        if entry["outcome"] == "processed" and entry["min_chars"] < 0.9 * counted[entry["file"]] - 1
    ]
    assert Counter(lower) == Counter(entry["file"] for entry in EXPECTED if "min_chars_not_blank" in entry)
