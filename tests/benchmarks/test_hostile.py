"""The hostile inputs are as large as was asked for, and the same every time."""

import json

import pytest

from benchmarks import hostile
from benchmarks.neighbouring.kinds import KINDS, Sizes

_SMALL = Sizes(text=500, large_text=600, body=2_000, large_body=3_000, batch=50_000, file=2_000, large_file=3_000)


@pytest.mark.parametrize("name", hostile.TEXTS)
@pytest.mark.parametrize("characters", [250, 1_000])
def test_a_text_has_nearly_as_many_characters_as_it_may(name, characters):
    text = hostile.TEXTS[name](characters)
    assert 0.95 * characters <= len(text) <= characters


@pytest.mark.parametrize("name", hostile.TEXTS)
def test_a_text_can_be_stored(name):
    text = hostile.TEXTS[name](500)
    assert "\x00" not in text
    assert text.encode().decode() == text


@pytest.mark.parametrize("name", hostile.BODIES)
def test_a_body_is_at_least_as_large_as_asked_for(name):
    assert len(hostile.BODIES[name].content(100_000)) >= 95_000


@pytest.mark.parametrize("name", hostile.FILES)
def test_a_file_begins_with_its_first_line_and_is_the_same_each_time(name):
    content = hostile.FILES[name].content("silt", 3_000)
    assert content == hostile.FILES[name].content("silt", 3_000)
    assert content != hostile.FILES[name].content("clay", 3_000)


def test_a_batch_is_within_the_limits_of_the_api():
    for entries in hostile.batches(1_000_000).values():
        assert 0 < len(entries) <= hostile.MOST_BATCH
        assert len(json.dumps({"entries": entries})) < hostile.MOST_BODY


def test_a_question_is_within_the_limit_of_the_search():
    assert all(900 <= len(str(parameters["q"])) <= hostile.MOST_QUESTION for parameters in hostile.searches().values())


@pytest.mark.parametrize("name", KINDS)
def test_a_kind_of_load_has_no_end(name):
    requests = KINDS[name].requests(_SMALL)
    assert len([next(requests) for _ in range(100)]) == 100
