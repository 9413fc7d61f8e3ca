"""A child that hangs ends with its worker, however that ends."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from projections.isolation import Stage
from workers.lane_children import StageWriter

PROGRAM = """
import asyncio, functools, os, sys, time
from tests.projections.test_orphans import hang
from workers.lane_children import ForkedLaneChildren

async def main():
    children = ForkedLaneChildren(functools.partial(hang, sys.argv[1]), "worker", None)
    await children.run(None)

asyncio.run(main())
"""
_SECONDS = 120.0


def hang(path: str, order: None, name: str, descriptor: int) -> None:
    """Say which process this is, and never end; as `varve.lane_child` does, end with its server."""
    del order, name, descriptor
    from workers.process_limits import die_with

    die_with(os.getppid(), signal.SIGKILL)
    Path(path).write_text(str(os.getpid()))
    while True:
        time.sleep(1)


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


def until(condition) -> None:
    deadline = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_child_that_hangs_ends_with_a_worker_that_was_killed(tmp_path):
    said = tmp_path / "pid"
    command = [sys.executable, "-P", "-c", PROGRAM, str(said)]
    with subprocess.Popen(command, env=os.environ | {"PYTHONPATH": "."}) as worker:
        until(lambda: said.exists() and said.read_text())
        pid = int(said.read_text())
        assert is_there(pid)
        worker.kill()
        until(lambda: not is_there(pid))


def test_a_child_whose_worker_no_longer_listens_ends_at_once_and_blames_no_event():
    reader, writer = os.pipe()
    os.close(reader)
    child = os.fork()
    if not child:
        try:
            StageWriter(writer).note(Stage(1.0))
        finally:
            os._exit(99)  # it was told
    os.close(writer)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 1
