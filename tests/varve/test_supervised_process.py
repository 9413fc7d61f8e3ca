"""The supervisor's end is that of its processes, also of one that does not listen."""

import asyncio
import os
from pathlib import Path

import pytest

from eventstore.background import end
from varve import up

_LONGER_THAN_A_CANCELLATION = 3.0
"""Seconds: `end` cancels again after two."""
_HANGS_AT_ITS_START = """
import pathlib, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({sign!r}).touch()
time.sleep(60)
"""


async def test_a_process_that_hangs_is_killed_in_the_end(tmp_path, monkeypatch):
    monkeypatch.setattr(up, "_STOP_SECONDS", _LONGER_THAN_A_CANCELLATION)
    sign = tmp_path / "hangs"
    (tmp_path / "sitecustomize.py").write_text(_HANGS_AT_ITS_START.format(sign=str(sign)))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = up.ChildProcess("hung", ("--help",), environment, tmp_path / "hung.log")
    running = asyncio.create_task(process.run())
    await _until_there(sign)
    pid = process.pid
    assert pid is not None

    await end(running)

    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


async def _until_there(file: Path) -> None:
    async with asyncio.timeout(20):
        while not file.exists():  # noqa: ASYNC110, ASYNC240 - a process tells nobody; a look takes no time
            await asyncio.sleep(0.01)
