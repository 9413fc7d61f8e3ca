"""Each step takes time and makes bytes in proportion to its text; `python -m tests.texts` is the full length.

Here each step meets each shape at the shortest length that can be timed and at a quarter of it.
"""

import pytest

from tests.texts.corpus import GROUPS, IN_CI
from tests.texts.growth import run_child

_CPU_SECONDS = 60


@pytest.mark.parametrize("step", sorted(IN_CI))
def test_a_step_takes_time_and_bytes_in_proportion_to_the_text(step):
    report = run_child("texts", step, full=False, cpu_seconds=_CPU_SECONDS)
    assert report.finished
    assert report.complaints == []


@pytest.mark.parametrize("format_", sorted(GROUPS["files"]))
def test_a_file_is_read_in_time_and_bytes_in_proportion_to_its_length(format_):
    report = run_child("files", format_, full=False, cpu_seconds=_CPU_SECONDS)
    assert report.finished
    assert report.complaints == []


def test_a_field_of_a_command_is_checked_and_audited_in_proportion_to_its_text():
    report = run_child("fields", "all", full=False, cpu_seconds=_CPU_SECONDS)
    assert report.finished
    assert report.complaints == []
