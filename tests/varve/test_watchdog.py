"""A process whose event loop hangs ends by itself, with its stack; one that only waits goes on."""

import subprocess
import sys

import pytest

_PROGRAM = """
import asyncio, re, time
from varve.watchdog import watched

async def main():
    async with watched({seconds}):
        await asyncio.sleep({seconds} * 2)
        print("waited", flush=True)
        {work}
    print("ended", flush=True)

asyncio.run(main())
time.sleep({seconds} * 2)
print("left alone", flush=True)
"""


def run(work: str, seconds: float = 0.5) -> subprocess.CompletedProcess[str]:
    program = _PROGRAM.format(work=work, seconds=seconds)
    return subprocess.run(
        [sys.executable, "-P", "-c", program], capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize(
    "work", ['re.match(r"(a+)+$", "a" * 60 + "b")', "time.sleep(100)", "[None for _ in iter(int, 1)]"]
)
def test_a_hang_ends_the_process_and_prints_where_it_stood(work):
    ended = run(work)
    assert (ended.returncode, ended.stdout) == (1, "waited\n")
    assert "Timeout" in ended.stderr
    assert "in main" in ended.stderr


def test_after_the_block_nothing_is_watched():
    assert run("pass").stdout.split("\n")[:3] == ["waited", "ended", "left alone"]
